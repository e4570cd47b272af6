"""The steps of the flow, as plain functions.

::

    sources ─▶ raw ─▶ tokenized ─▶ cache ─▶ mixture
                          ▲
                     tokenizers

Each step takes what the step before it published, and publishes one artifact through the :mod:`~phyagi_assets.store.local`,
under the :mod:`~phyagi_assets.store.fingerprint` of what it was made from. An artifact that already carries the wanted
fingerprint is reused, so that a refresh costs what changed. :mod:`~phyagi_assets.build.staleness` ties the steps of a corpus together.
"""
