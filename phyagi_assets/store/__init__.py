"""Artifacts and their versions.

::

    <corpus>/numpy_cache/<partition>   →   .versions/<partition>@<fingerprint>/   manifest.json, …
          a link                                       published once, never edited

A version is written in a staging folder and renamed into place when it is complete; then the link is replaced atomically.
"""
