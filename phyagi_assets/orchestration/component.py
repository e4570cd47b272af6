"""The catalog as a Dagster component: every declaration in the data folder as definitions."""

import dagster as dg

from phyagi_assets.declare.catalog import Catalog, read_catalog
from phyagi_assets.orchestration.assets import PROGRESS, WORKSPACE, corpus_assets, mixture_assets
from phyagi_assets.orchestration.checks import stored_check
from phyagi_assets.orchestration.declared import declarations_sensor, placeholder
from phyagi_assets.orchestration.partitions import partitions_sensor
from phyagi_assets.orchestration.progress import LoggedProgress, Progress
from phyagi_assets.orchestration.sensors import follow_sensor, refresh_schedule, refresh_sensor
from phyagi_assets.settings import Settings
from phyagi_assets.steps.flow import FLOW, Flow
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.local import Store


class CatalogComponent(dg.Component, dg.Model, dg.Resolvable):
    """Component that defines the assets of every corpus and mixture declared in a data folder.

    Attributes
    ----------
    data
        The data folder; by default ``$PHYAGI_ASSETS_DATA``, else ``data``.
    store
        The store; by default ``$PHYAGI_ASSETS_STORE``, else ``store`` in the data folder.
    """

    data: str | None = None
    store: str | None = None

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Build the definitions from the declarations alone; sources, artifacts and tokenizers are not read."""
        del context
        return data_folder_definitions(Settings.resolve(data=self.data, store=self.store))


def data_folder_definitions(settings: Settings) -> dg.Definitions:
    """Return the definitions of a data folder, as the UI and its runs use them."""
    catalog, _ = read_catalog(settings.require_data())
    return catalog_definitions(catalog, Workspace(data=catalog.data, store=Store(settings.store)), LoggedProgress())


def catalog_definitions(catalog: Catalog, workspace: Workspace, progress: Progress, flow: Flow = FLOW) -> dg.Definitions:
    """Return the definitions of a catalog: assets, checks, sensors and schedules, and a placeholder asset per broken declaration."""
    corpora = [asset for corpus in catalog.corpora.values() for asset in corpus_assets(corpus, flow)]
    mixtures = [asset for mixture in catalog.mixtures.values() for asset in mixture_assets(mixture, catalog.corpora, flow)]
    names = [*catalog.corpora, *catalog.mixtures, *(broken.name for broken in catalog.broken)]
    return dg.Definitions(
        assets=[*corpora, *mixtures, *map(placeholder, catalog.broken)],
        asset_checks=[stored_check(corpus, WORKSPACE) for corpus in catalog.corpora.values()],
        sensors=[
            partitions_sensor(catalog.corpora, workspace, names),
            *(refresh_sensor(corpus, workspace) for corpus in catalog.corpora.values()),
            follow_sensor([*catalog.corpora.values(), *catalog.mixtures.values()]),
            declarations_sensor(catalog),
        ],
        schedules=[made for corpus in catalog.corpora.values() if (made := refresh_schedule(corpus, workspace))],
        resources={WORKSPACE: workspace, PROGRESS: progress},
        executor=dg.in_process_executor,
    )
