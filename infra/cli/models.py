"""`penstock models`: what is registered, what is live, and changing that."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infra.cli import context, output
from models.errors import NotFound

if TYPE_CHECKING:
    from models.manifest import Aliases, Manifest
    from models.registry import Registry

app = typer.Typer(help="List, inspect and promote registered models.", no_args_is_help=True)
_Model = Annotated[
    str | None, typer.Option(help="Name in the registry, such as recommender.", show_default="the models of devices")
]


@app.command("list")
def list_models(model: _Model = None, as_json: output.AsJson = False) -> None:
    """List all versions, oldest first."""
    registry = _registry(model)
    aliases = registry.aliases().aliases
    manifests = [registry.manifest(version) for version in registry.versions()]
    if as_json:
        output.print_json(
            {
                "live": aliases.live,
                "previous": aliases.previous,
                "versions": [_row(manifest, aliases) for manifest in manifests],
            }
        )
        return
    rows = [
        (m.version, _alias(m.version, aliases), _size(m), m.window or "-", output.moment(m.created_at))
        for m in manifests
    ]
    table = output.table(("version", "alias", "knows", "window", "created"), rows)
    # A version is there to be copied: never shortened, however narrow the terminal.
    table.columns[0].min_width = max((len(m.version) for m in manifests), default=0)
    output.stdout.print(table)


@app.command("show")
def show(
    version: Annotated[str, typer.Argument(help="A version, `live` or `previous`.")] = "live",
    model: _Model = None,
    as_json: output.AsJson = False,
) -> None:
    """Show a version's manifest."""
    registry = _registry(model)
    manifest = registry.manifest(_resolve(registry, version))
    if as_json:
        output.print_json(manifest)
        return
    facts: list[tuple[str, object]] = [
        ("model", manifest.model),
        ("version", manifest.version),
        ("alias", _alias(manifest.version, registry.aliases().aliases) or "none"),
        ("created", f"{output.moment(manifest.created_at)} by {manifest.creator}"),
        *([("knows", _size(manifest))] if manifest.series or manifest.items else []),
        *([("window", manifest.window)] if manifest.window else []),
        *([("features", ", ".join(manifest.features))] if manifest.features else []),
        ("based on", manifest.based_on or "nothing"),
        *((name, f"{value:g}") for name, value in manifest.metrics.items()),
        *manifest.parameters.items(),
        ("data", manifest.data_fingerprint),
        *((name, f"{file.size} bytes, sha256 {file.sha256}") for name, file in manifest.files.items()),
    ]
    for fact, value in facts:
        # Line by line: a table would fold digests in a narrow terminal.
        output.stdout.print(f"{fact:22}  {value}", markup=False, soft_wrap=True)


@app.command("promote")
def promote(
    version: Annotated[str, typer.Argument(help="The version to make live.")],
    model: _Model = None,
    as_json: output.AsJson = False,
) -> None:
    """Make a version live, after loading it with all its checks.

    Returns when running functions score with a bank of SVMs; a recommender they follow within seconds. Whether it is
    better is not asked: training does that, by itself.
    """
    registry = _registry(model)
    _check(registry, version)
    _follow(registry, registry.promote(version), as_json)


@app.command("rollback")
def rollback(model: _Model = None, as_json: output.AsJson = False) -> None:
    """Make the previous version live again; returns as promote does."""
    registry = _registry(model)
    _follow(registry, registry.rollback(), as_json)


@app.command("export-edge")
def export_edge(
    device: str,
    sensor: str,
    out: Annotated[Path, typer.Option(help="Folder for model.onnx and model.json.", file_okay=False)],
    version: Annotated[str, typer.Option(help="A version, `live` or `previous`.")] = "live",
    as_json: output.AsJson = False,
) -> None:
    """Write one series' model as an ONNX file with which a device scores itself (examples/edge)."""
    import msgspec

    from training.svm.edge import edge_graph
    from training.svm.register import load_estimators

    registry = _registry(None)
    manifest = registry.manifest(_resolve(registry, version))
    estimator = load_estimators(registry, manifest).get((device, sensor))
    if estimator is None:
        raise NotFound(f"version {manifest.version} has no model of {device}/{sensor}")
    out.mkdir(parents=True, exist_ok=True)
    document = {
        "device": device,
        "sensor": sensor,
        "version": manifest.version,
        "window": manifest.window,
        "features": manifest.features,
    }
    (out / "model.onnx").write_bytes(edge_graph(estimator))
    (out / "model.json").write_bytes(msgspec.json.format(msgspec.json.encode(document)) + b"\n")
    if as_json:
        output.print_json({**document, "files": [str(out / "model.onnx"), str(out / "model.json")]})
    else:
        sentence = f"{out / 'model.onnx'} and model.json: {device}/{sensor} of version {manifest.version}"
        output.stdout.print(sentence, markup=False, soft_wrap=True)


def _check(registry: "Registry", version: str) -> None:
    """Load the version as functions will, whatever its kind. Raises what is wrong with it."""
    from models.inference import load_bank
    from models.inference.fm import load_machine
    from models.inference.recommender import load_recommender

    kind = registry.manifest(version).kind
    loaders: dict[str, Callable[[Registry, str], object]] = {"als": load_recommender, "fm": load_machine}
    loaders.get(kind, load_bank)(registry, version)


def _registry(model: str | None) -> "Registry":
    from models.registry import Registry

    settings = context.load_settings()
    return Registry(context.open_blobs(settings), model or settings.model)


def _resolve(registry: "Registry", version: str) -> str:
    if version not in ("live", "previous"):
        return version
    named: str | None = getattr(registry.aliases().aliases, version)
    if named is None:
        raise NotFound(f"no version is {version}; train one: penstock train --help")
    return named


def _follow(registry: "Registry", aliases: "Aliases", as_json: bool) -> None:
    from infra.cli.following import await_followed

    settings = context.load_settings()
    if registry.model == settings.model and aliases.live is not None:
        await_followed(aliases.live, refresh_s=settings.model_refresh_s)
    _report(aliases, as_json)


def _report(aliases: "Aliases", as_json: bool) -> None:
    if as_json:
        output.print_json(aliases)
    else:
        output.stdout.print(f"live: {aliases.live}, previous: {aliases.previous or 'none'}")


def _row(manifest: "Manifest", aliases: "Aliases") -> dict[str, object]:
    return {
        "version": manifest.version,
        "alias": _alias(manifest.version, aliases) or None,
        **({"items": manifest.items} if manifest.items else {"series": manifest.series}),
        "window": manifest.window,
        "created_at": manifest.created_at,
        "based_on": manifest.based_on,
        "metrics": manifest.metrics,
    }


def _size(manifest: "Manifest") -> str:
    """How much a version knows: items of a recommender, series of a bank."""
    if manifest.items:
        return f"{manifest.items:,} items"
    return f"{manifest.series:,} series" if manifest.series else "-"


def _alias(version: str, aliases: "Aliases") -> str:
    return "live" if version == aliases.live else "previous" if version == aliases.previous else ""
