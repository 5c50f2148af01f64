"""What the exact engine saves: in one run, on the same weights and frames as the published way of computing."""
