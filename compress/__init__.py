"""compress: policy -> smaller policy (prune, factorize, quantize, distill, heal)."""
