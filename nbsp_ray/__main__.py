"""`python -m nbsp_ray` is `nbsp-ray`."""

from nbsp_ray.verbs.main import main

main()
