import { pay } from "./cart";
export const checkout = (cart: any) => {
  console.log("checkout");
  return pay(cart);
};
try { checkout({}); } catch (e: any) { console.log(e.stack); }
