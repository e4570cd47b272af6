"""This project's assets, materialized by Dagster in this process: the definitions that its UI loads, its own instance."""

import os

import dagster as dg
import datasets  # noqa: F401  (imported by a step, and not to be timed)
from our_corpus import NAME, data_folder, published
from task import Stopwatch, done, task

from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.orchestration.assets import WORKSPACE
from phyagi_assets.orchestration.component import data_folder_definitions
from phyagi_assets.orchestration.instance import open_instance
from phyagi_assets.orchestration.partitions import sync_partitions
from phyagi_assets.settings import Settings
from phyagi_assets.tokenizers.prepare import prepare_tokenizer

os.environ.pop("DAGSTER_HOME", None)
data = data_folder(task())
settings = Settings(data=data, store=data / "store")
corpus = load_catalog(data).corpora[NAME]
definitions = data_folder_definitions(settings)
workspace = definitions.resources[WORKSPACE]
workspace.engines.engines(prepare_tokenizer(corpus, workspace.identities, workspace.store), workspace.store)  # loads the tokenizer

with open_instance(settings) as instance, Stopwatch() as watch:
    partitions = workspace.sources.partitions(corpus)
    sync_partitions(instance, corpus, partitions)
    for key in partitions:
        dg.materialize(
            [*definitions.assets],
            resources=definitions.resources,
            partition_key=key,
            instance=instance,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )

done(watch, **published(data))
