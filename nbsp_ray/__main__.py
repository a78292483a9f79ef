"""`python -m nbsp_ray` is `nbsp-ray`."""

from nbsp_ray.cli import main

main()
