"""A simulation of many replicas, from what one of them was measured to cost."""
