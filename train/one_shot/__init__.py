"""Many architectures from one training: a graph hypernetwork estimates the weights of every actor of a family."""
