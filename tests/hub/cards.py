"""What the Hub reads out of a repository: the card's metadata, its errors, tags, and the answer of the info routes."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

import yaml

from tests.hub.protocol import HubError
from tests.hub.site import as_date, object_id
from tests.hub.storage import Commit, Entry, Repository, lfs_pointer

_LICENSES = (
    "apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m afl-3.0 "
    "artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 "
    "cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 "
    "cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 "
    "epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc h-research "
    "intel-research lppl-1.3c ms-pl apple-ascl apple-amlr mpl-2.0 odc-by odbl openmdw-1.0 openrail++ osl-3.0 postgresql"
    " ofl-1.1 ncsa unlicense zlib pddl lgpl-lr deepfloyd-if-license fair-noncommercial-research-license llama2 llama3 llama3.1"
    " llama3.2 llama3.3 llama4 grok2-community gemma unknown other"
)
LICENSES = _LICENSES.split()
RELATIONS = ("adapter", "finetune", "merge", "quantized")
_YAML_BLOCK = re.compile(r"^(\s*---[\r\n]+)([\S\s]*?)([\r\n]+---(\r\n|\n|$))")
_REPO_ID = re.compile(r"^[A-Za-z0-9][\w.-]*(/[\w.-]+)?$")

_EVERY_FIELD = (
    "author cardData createdAt disabled lastModified likes private siblings sha tags trendingScore usedStorage resourceGroup"
)
_MODEL_FIELDS = (
    "baseModels config downloads downloadsAllTime evalResults gated inference inferenceProviderMapping library_name mask_token"
    " model-index pipeline_tag safetensors spaces transformersInfo widgetData gguf childrenModelCount"
)
_DATASET_FIELDS = "citation description downloads downloadsAllTime gated paperswithcode_id mainSize"
_SPACE_FIELDS = "datasets models runtime sdk subdomain"
EXPANDABLE = {
    repo_type: [*_EVERY_FIELD.split(), "xetEnabled", *fields.split()]
    for repo_type, fields in {"model": _MODEL_FIELDS, "dataset": _DATASET_FIELDS, "space": _SPACE_FIELDS}.items()
}


def read_card(content: str) -> dict[str, Any]:
    """Read the metadata at the head of a card.

    Args:
        content: text of the README.md.

    Returns:
        The metadata, as JSON can hold it; empty where there is none.

    Raises:
        ValueError: the block is not YAML, or not a mapping.
    """
    block = _YAML_BLOCK.search(content)
    if block is None:
        return {}
    try:
        data = yaml.safe_load(block.group(2))
    except yaml.YAMLError as error:
        raise ValueError(f"Invalid YAML: {error}") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ValueError("YAML metadata must be an object")
    plain: dict[str, Any] = json.loads(
        json.dumps(data, default=lambda value: value.isoformat() if isinstance(value, date) else str(value))
    )
    return plain


def validate_card(content: str, repo_type: str) -> tuple[list[str], list[str]]:
    """Give the errors and the warnings of a card, in the Hub's words as far as they are known."""
    try:
        data = read_card(content)
    except ValueError as error:
        return [str(error)], []
    if not data:
        return [], ["empty or missing yaml metadata in repo card"]
    errors = [*_license_errors(data), *_text_errors(data)]
    if repo_type == "model":
        errors += [*_base_model_errors(data), *_index_errors(data)]
    return errors, []


def _license_errors(data: Mapping[str, Any]) -> Iterable[str]:
    if "license" not in data:
        return
    for each in as_list(data["license"]):
        if each not in LICENSES:
            yield f'"license" must be one of [{", ".join(LICENSES)}, array]'
    if "license_name" in data and not re.fullmatch(r"[a-z0-9-.]+", str(data["license_name"])):
        yield f'"license_name" with value "{data["license_name"]}" fails to match the required pattern: /^[a-z0-9-.]+$/'


def _text_errors(data: Mapping[str, Any]) -> Iterable[str]:
    for key in ("library_name", "pipeline_tag", "license_link", "model_name"):
        if key in data and not isinstance(data[key], str):
            yield f'"{key}" must be a string'
    for key in ("tags", "datasets", "metrics"):
        if key in data and not all(isinstance(each, str) for each in as_list(data[key])):
            yield f'"{key}" must be an array of strings'
    for each in as_list(data.get("language", [])):
        if not isinstance(each, str) or each != each.lower():
            yield '"language" must only contain lowercase characters'
        elif not re.fullmatch(r"[a-z]{2,3}(-[a-z0-9]+)*|code|multilingual", each):
            yield f'"language" with value "{each}" is not valid. It must be an ISO 639-1, 639-2 or 639-3 code'


def _base_model_errors(data: Mapping[str, Any]) -> Iterable[str]:
    for each in as_list(data.get("base_model") or []):
        if not isinstance(each, str):
            yield '"base_model" must be a string'
        elif not _REPO_ID.match(each):
            yield f'"base_model" with value "{each}" is not valid. Use a model id from https://hf.co/models.'
    relation = data.get("base_model_relation")
    if relation is not None and relation not in RELATIONS:
        yield f'"base_model_relation" must be one of [{", ".join(RELATIONS)}]'


def _index_errors(data: Mapping[str, Any]) -> Iterable[str]:
    index = data.get("model-index", [])
    if not isinstance(index, list):
        yield '"model-index" must be an array'
        return
    for at, model in enumerate(index):
        if not isinstance(model, dict) or "name" not in model:
            yield f'"model-index[{at}].name" is required'
            continue
        for number, result in enumerate(as_list(model.get("results") or [])):
            yield from _result_errors(result, f"model-index[{at}].results[{number}]")


def _result_errors(result: Any, place: str) -> Iterable[str]:
    if not isinstance(result, dict):
        yield f'"{place}" must be of type object'
        return
    for path in ("task.type", "dataset.type", "dataset.name"):
        outer, inner = path.split(".")
        if not isinstance(result.get(outer), dict) or inner not in result[outer]:
            yield f'"{place}.{path}" is required'
    metrics = result.get("metrics")
    if not isinstance(metrics, list):
        yield f'"{place}.metrics" is required'
        return
    for at, metric in enumerate(metrics):
        for key in ("type", "value"):
            if not isinstance(metric, dict) or key not in metric:
                yield f'"{place}.metrics[{at}].{key}" is required'


def as_list(value: Any) -> list[Any]:
    """Take a value of metadata as a list, where one alone may be written."""
    return value if isinstance(value, list) else [value]


def card_of(repo: Repository, commit: Commit) -> dict[str, Any]:
    """Give the metadata of a commit's card; none where it cannot be read."""
    readme = commit.files.get("README.md")
    if readme is None:
        return {}
    try:
        return read_card(repo.read(readme).decode("utf-8", "replace"))
    except ValueError:
        return {}


def _json_file(repo: Repository, commit: Commit, name: str) -> dict[str, Any]:
    entry = commit.files.get(name)
    if entry is None:
        return {}
    try:
        data = json.loads(repo.read(entry))
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def library_of(repo: Repository, commit: Commit, card: Mapping[str, Any]) -> str | None:
    """Tell the library: the card's word, or what the files show."""
    if isinstance(card.get("library_name"), str):
        return str(card["library_name"])
    if "adapter_config.json" in commit.files and "peft_type" in _json_file(repo, commit, "adapter_config.json"):
        return "peft"
    return "transformers" if "model_type" in _json_file(repo, commit, "config.json") else None


def base_models(repo: Repository, commit: Commit, card: Mapping[str, Any]) -> tuple[str | None, list[str]]:
    """Tell which models a model comes from, and how: the card's word, else adapter, merge or finetune by what is seen."""
    names = [name for name in as_list(card.get("base_model") or []) if isinstance(name, str)]
    if not names:
        return None, []
    relation = card.get("base_model_relation")
    if relation in RELATIONS:
        return str(relation), names
    if library_of(repo, commit, card) in ("peft", "adapter-transformers"):
        return "adapter", names
    return ("merge" if len(names) > 1 else "finetune"), names


def tags_of(repo: Repository, commit: Commit, card: Mapping[str, Any]) -> list[str]:
    """Give the tags by which a repository is found."""
    found: list[str] = []
    if repo.type == "model":
        found += [library for library in [library_of(repo, commit, card)] if library]
        kinds = {"safetensors": r"\.safetensors$", "pytorch": r"(^|/)(pytorch_model.*|adapter_model)\.bin$", "gguf": r"\.gguf$"}
        found += [tag for tag, pattern in kinds.items() if any(re.search(pattern, path) for path in commit.files)]
        found += [str(_json_file(repo, commit, "config.json").get("model_type") or "")]
        found += [str(card.get("pipeline_tag") or "")]
    found += [str(tag) for tag in as_list(card.get("tags") or [])]
    if repo.type == "dataset":
        for key in ("task_categories", "task_ids", "size_categories", "multilinguality", "annotations_creators"):
            found += [f"{key}:{value}" for value in as_list(card.get(key) or [])]
    languages = [str(value) for value in as_list(card.get("language") or [])]
    found += languages if repo.type == "model" else [f"language:{value}" for value in languages]
    found += [f"dataset:{value}" for value in as_list(card.get("datasets") or [])]
    relation, names = base_models(repo, commit, card)
    found += [f"base_model:{name}" for name in names] + [f"base_model:{relation}:{name}" for name in names]
    found += [f"license:{value}" for value in as_list(card.get("license") or [])]
    if isinstance(card.get("model-index"), list):
        found.append("model-index")
    return [*dict.fromkeys(tag for tag in found if tag), "region:us"]


def sibling(path: str, entry: Entry, *, blobs: bool) -> dict[str, Any]:
    """Describe a file as the info routes do."""
    described: dict[str, Any] = {"rfilename": path}
    if blobs:
        described |= {"blobId": entry.oid, "size": entry.size}
        if entry.sha256 is not None:
            pointer = len(lfs_pointer(entry.sha256, entry.size))
            described["lfs"] = {"sha256": entry.sha256, "size": entry.size, "pointerSize": pointer}
    return described


def describe(repo: Repository, commit: Commit, *, blobs: bool = False) -> dict[str, Any]:
    """Describe a repository at a commit with all that the Hub can say."""
    card = card_of(repo, commit)
    sizes = {entry.etag: entry.size for each in repo.commits.values() for entry in each.files.values()}
    about: dict[str, Any] = {
        "_id": object_id(repo.type, repo.created.isoformat()), "id": repo.id, "author": repo.namespace, "sha": commit.oid,
        "lastModified": as_date(commit.date), "createdAt": as_date(repo.created), "private": repo.private, "gated": repo.gated,
        "disabled": repo.disabled, "downloads": 0, "downloadsAllTime": 0, "likes": 0, "trendingScore": 0,
        "tags": tags_of(repo, commit, card), "usedStorage": sum(sizes.values()),
        "siblings": [sibling(path, entry, blobs=blobs) for path, entry in commit.files.items()],
    }  # fmt: skip
    if card:
        about["cardData"] = card
    return about | {"model": _about_model, "dataset": _about_dataset, "space": _about_space}[repo.type](repo, commit, card)


def _parameters(repo: Repository, commit: Commit) -> dict[str, int]:
    """Count the parameters by type, from the heads of the safetensors files at the root."""
    counts: dict[str, int] = {}
    for path, entry in commit.files.items():
        content = repo.read(entry) if path.endswith(".safetensors") and "/" not in path else b""
        try:
            tensors = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")] or b"{}")
        except ValueError:
            continue  # not safetensors, whatever its name says
        for name, tensor in tensors.items():
            if name != "__metadata__":
                counts[tensor["dtype"]] = counts.get(tensor["dtype"], 0) + math.prod(tensor["shape"])
    return counts


def _about_model(repo: Repository, commit: Commit, card: Mapping[str, Any]) -> dict[str, Any]:
    about: dict[str, Any] = {"modelId": repo.id, "spaces": [], "childrenModelCount": dict.fromkeys(RELATIONS, 0)}
    about |= {key: value for key, value in {"library_name": library_of(repo, commit, card)}.items() if value}
    about |= {key: card[key] for key in ("pipeline_tag", "mask_token") if key in card}
    if isinstance(card.get("model-index"), list):
        about["model-index"] = card["model-index"]
    counts = _parameters(repo, commit)
    if counts:
        about["safetensors"] = {"parameters": counts, "total": sum(counts.values())}
    config = _json_file(repo, commit, "config.json")
    if config:
        about["config"] = {key: config[key] for key in ("architectures", "model_type") if key in config}
    adapter = _json_file(repo, commit, "adapter_config.json")
    if "peft_type" in adapter:
        about.setdefault("config", {})["peft"] = {
            key: adapter.get(key) for key in ("base_model_name_or_path", "peft_type", "task_type")
        }
    relation, names = base_models(repo, commit, card)
    if names:
        about["baseModels"] = {
            "relation": relation,
            "models": [{"_id": object_id("model", name), "id": name} for name in names],
        }
    return about


def _about_dataset(_repo: Repository, _commit: Commit, card: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": str(card.get("pretty_name", "")), "citation": None, "paperswithcode_id": None}


def _about_space(repo: Repository, _commit: Commit, _card: Mapping[str, Any]) -> dict[str, Any]:
    return {"sdk": repo.sdk, "subdomain": repo.id.replace("/", "-").lower(), "models": [], "datasets": []}


_HIDDEN = ("downloadsAllTime", "trendingScore", "childrenModelCount", "baseModels")
_LISTED = ("_id", "id", "modelId", "likes", "private", "downloads", "tags", "pipeline_tag", "library_name", "createdAt", "sdk")
_LISTED_FULL = (*_LISTED, "author", "sha", "lastModified", "gated", "disabled", "siblings")
_LISTED_DATASET = (
    *("_id", "id", "author", "cardData", "sha", "lastModified", "description", "downloads", "likes", "tags", "private"),
    *("gated", "disabled", "createdAt"),
)


def shown(about: dict[str, Any], repo_type: str, expand: list[str]) -> dict[str, Any]:
    """Keep of a description what an info route gives: its usual fields, or exactly those that are asked for."""
    if not expand:
        return {key: value for key, value in about.items() if key not in _HIDDEN}
    wrong = [field for field in expand if field not in EXPANDABLE[repo_type]]
    if wrong:
        raise HubError(400, f'"expand" must be one of [{", ".join(EXPANDABLE[repo_type])}], got "{wrong[0]}"')
    return {key: value for key, value in about.items() if key in ("_id", "id", *expand)}


def listed(about: dict[str, Any], repo_type: str, *, full: bool, card: bool, config: bool) -> dict[str, Any]:
    """Keep of a description what a list gives."""
    keys: tuple[str, ...] = _LISTED_DATASET if repo_type == "dataset" else _LISTED_FULL if full else _LISTED
    if repo_type == "dataset" and full:
        keys = (*keys, "siblings", "citation", "paperswithcode_id")
    keys += ("cardData",) * card + ("config",) * config
    return {key: value for key, value in about.items() if key in keys}
