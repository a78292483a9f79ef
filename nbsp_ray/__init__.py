"""nbsp_ray: sweeps of two-phase continual reinforcement learning trials on Ray."""

__version__ = "0.1.0"
