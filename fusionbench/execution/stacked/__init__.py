"""Several small networks of the same shape trained at once: one batched product where there were many small ones."""
