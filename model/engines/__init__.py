"""What computes the network: one room for each library."""
