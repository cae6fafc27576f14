"""worlds: batched environments written in torch, that a learner steps without Gymnasium."""
