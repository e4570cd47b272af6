"""Artifacts and their versions. No other package knows their paths.

::

    <corpus>/numpy_cache/<partition>   →   .versions/<partition>@<fingerprint>/   manifest.json, …
          a link                                       published once, never edited

A version is written in a staging folder and renamed into place when it is complete; then the link is replaced atomically.

============ =========================================================================
addresses    `Address` and `Version`, the names of artifacts
artifact     `Artifact`, one version of an artifact
base         `Store`, the operations of every kind of store
local        `LocalStore`, a store on a disk
bucket_store `BucketStore`, a store in a bucket, with `Scratch` for its files on this machine
leases       locks between machines, as objects in a bucket
copying      copies of versions from one store to another
survey       the contents of a local store
ownership    the files that a local store made itself, and may therefore replace or remove
disk, locks  flushing, linking, locking
manifest     `Manifest`, the record of what a version was made from and what it contains
state        `State`, small records that can be lost
============ =========================================================================
"""
