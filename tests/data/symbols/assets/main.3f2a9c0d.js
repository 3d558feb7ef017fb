(()=>{var t=class extends Error{};function n(e){return e.reduce((r,c)=>r+c.price,0)}function o(e){let r=n(e.items);if(r===0)throw new t("cart is empty");return r}var u=e=>(console.log("checkout"),o(e));try{u({})}catch(e){console.log(e.stack)}})();
//# sourceMappingURL=main.3f2a9c0d.js.map
