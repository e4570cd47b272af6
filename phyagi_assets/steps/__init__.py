"""The steps of the flow, as plain functions.

::

    sources ─▶ raw ─▶ tokenize ─▶ cache ─▶ mixture
                          ▲
                     tokenizers

Each step reads the artifacts published by the step before it, and publishes one artifact to the store under the fingerprint of its inputs.
A version with this fingerprint is reused if the store has it, so a refresh only builds what changed.
"""
