"""What the temporal cache costs and what it is worth: quality against cost, beside simpler ways to save."""
