"""What the exact engine saves: one run, the same weights and frames, as the published code computes and as ours does."""
