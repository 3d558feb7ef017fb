struct cart { int items; };
static inline __attribute__((always_inline)) int first_item(struct cart *c) { return c->items + 1; }
__attribute__((noinline)) int cart_pay(struct cart *c) {
  int n = first_item(c);
  return n * 2;
}
__attribute__((noinline)) int checkout(int n) {
  struct cart *c = 0;
  if (n > 100) return 0;
  return cart_pay(c) + 1;
}

int main(int argc, char **argv) { return checkout(argc); }
