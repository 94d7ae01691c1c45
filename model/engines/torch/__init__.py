"""The network computed by torch, with folded, packed and recorded operators on a CPU."""
