"""Artifacts and their versions.

::

    <corpus>/numpy_cache/<partition>   →   .versions/<partition>@<fingerprint>/   manifest.json, …
          a link                                       published once, never edited

A version is written apart and moved into place whole; then the link is replaced in one step.
"""
