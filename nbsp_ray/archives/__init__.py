"""Results that travel: what is finished of a sweep as one compact file, `nbsp-ray export results` and `import`.

An archive is a tar file compressed with xz. The same results give the same bytes, wherever and whenever it is made.

    manifest.json                     the format, the sweep, the keys of all phases, size and SHA-256 of each file
    phases/<key>/<file>               as in a results root (`nbsp_ray.store`), but no buffer and no rollouts
    searches/<id>.json                numbers of skill neurons that the sweep's searches have chosen

Nothing in it is code, nothing is unpickled. It is checked whole before the first file of it is written: that it ends,
that every file is what the manifest says, that no path leads elsewhere, that each phase is what its key says and comes
with the phases it rests on. A phase is put in place whole or not at all.
"""

FORMAT = 1
SUFFIX = ".results.tar.xz"
MANIFEST = "manifest.json"
KEY = "[0-9a-f]{20}"
IN_MEMORY = 2**26
"""Bytes of an archive's contents that are kept in memory; more go to a temporary file."""
