"""The steps of the flow, as plain functions.

::

    sources ─▶ raw ─▶ tokenize ─▶ cache ─▶ mixture
                          ▲
                     tokenizers

Each step takes what the step before it published, and publishes one artifact to the store under the fingerprint of what it was made from.
An artifact that already has this fingerprint is reused, so that a refresh costs what changed.
"""
