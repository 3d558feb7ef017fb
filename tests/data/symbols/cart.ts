export class EmptyCart extends Error {}
export function total(items: { price: number }[]): number {
  return items.reduce((sum, item) => sum + item.price, 0);
}
export function pay(cart: { items?: { price: number }[] }): number {
  const due = total(cart.items as { price: number }[]);
  if (due === 0) throw new EmptyCart("cart is empty");
  return due;
}
