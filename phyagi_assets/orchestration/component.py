"""The catalog as a Dagster component: every declaration in the data folder as definitions."""

import warnings
from functools import partial

import dagster as dg

from phyagi_assets.declare.catalog import Catalog, read_catalog
from phyagi_assets.orchestration.assets import corpus_assets, mixture_assets
from phyagi_assets.orchestration.automation import follow_sensor
from phyagi_assets.orchestration.declared import declarations_sensor, placeholder
from phyagi_assets.orchestration.failure_notices import failure_sensors
from phyagi_assets.orchestration.jobs import corpus_job, mixture_job, stale_job
from phyagi_assets.orchestration.mixtures import mixtures_sensor
from phyagi_assets.orchestration.names import COMMAND_JOB, PROGRESS, WORKSPACE, stale_job_name
from phyagi_assets.orchestration.partitions import partitions_sensor
from phyagi_assets.orchestration.progress import Progress, logged_progress
from phyagi_assets.orchestration.sensors import refresh_schedule, refresh_sensor
from phyagi_assets.orchestration.store_checks import check_store_job, check_store_schedule, store_asset, stored_check
from phyagi_assets.settings import Settings
from phyagi_assets.steps.flow import FLOW, Flow
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.base import Store
from phyagi_assets.store.places import open_store


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
    return catalog_definitions(catalog, Workspace(data=catalog.data, store=open_store(settings.store)), logged_progress)


def catalog_definitions(catalog: Catalog, workspace: Workspace, progress: Progress, flow: Flow = FLOW) -> dg.Definitions:
    """Return the definitions of a catalog: assets, checks, jobs, sensors and schedules, and a placeholder asset per broken declaration."""
    with warnings.catch_warnings():
        # Checks of partitions and references to code are used here on purpose, though Dagster may still change them.
        warnings.simplefilter("ignore", dg.BetaWarning)
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return _definitions(catalog, workspace, progress, flow)


def _definitions(catalog: Catalog, workspace: Workspace, progress: Progress, flow: Flow) -> dg.Definitions:
    corpora, mixtures = catalog.corpora, catalog.mixtures
    declared = [
        *(asset for corpus in corpora.values() for asset in corpus_assets(corpus, flow)),
        *(asset for mixture in mixtures.values() for asset in mixture_assets(mixture, corpora, flow)),
    ]
    placed = dg.map_asset_specs(partial(_with_uri, store=workspace.store), declared)
    assets: list[dg.AssetsDefinition | dg.AssetSpec] = [*placed, *map(placeholder, catalog.broken)]
    stored_checks = [stored_check(corpus) for corpus in corpora.values()]
    checking = check_store_job(stored_checks) if stored_checks else None
    mixture_jobs = [mixture_job(mixture, flow) for mixture in mixtures.values()]
    names = [*corpora, *mixtures, *(broken.name for broken in catalog.broken)]
    return dg.Definitions(
        assets=[*assets, *([store_asset()] if checking else [])],
        asset_checks=stored_checks,
        jobs=[
            *(corpus_job(corpus, flow) for corpus in corpora.values()),
            *mixture_jobs,
            *(stale_job(stale_job_name(name), {name: corpus}, flow) for name, corpus in corpora.items()),
            stale_job(COMMAND_JOB, corpora, flow),
            *([checking] if checking else []),
        ],
        sensors=[
            partitions_sensor(corpora, workspace, names),
            *(sensor for corpus in corpora.values() if (sensor := refresh_sensor(corpus, workspace, flow))),
            follow_sensor(corpora.values()),
            *([mixtures_sensor(catalog, mixture_jobs, workspace, flow)] if mixtures else []),
            declarations_sensor(catalog),
            *failure_sensors(),
        ],
        schedules=[
            *(schedule for corpus in corpora.values() if (schedule := refresh_schedule(corpus, workspace, flow))),
            *([check_store_schedule(checking)] if checking else []),
        ],
        resources={WORKSPACE: workspace, PROGRESS: progress},
        executor=dg.in_process_executor,
    )


def _with_uri(spec: dg.AssetSpec, store: Store) -> dg.AssetSpec:
    """Return the specification of an asset with the path or address of its artifacts."""
    return spec.merge_attributes(metadata={"dagster/uri": dg.MetadataValue.text(str(store.place("/".join(spec.key.path))))})
