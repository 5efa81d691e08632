"""What mkdocs needs beside docs/*.md: READMEs as pages, layers, flags of commands, docstrings.

mkdocs calls the functions on_*; nothing is written into docs/.
"""

from __future__ import annotations

import contextlib
import io
import posixpath
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]

# files of the repository that are pages of the site
PAGES = {"README.md": "index.md", "caffe-mnc/README.md": "engine.md",
         "models/README.md": "models.md", "models/Mini/README.md": "mini.md",
         "models/ResNet101/README.md": "resnet101.md",
         "CHANGELOG.md": "changes.md", "CONTRIBUTING.md": "contributing.md",
         "tests/golden/README.md": "golden.md", "examples/README.md": "examples.md"}
SOURCES = {site: source for source, site in PAGES.items()}
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)]*)?\)")


def on_files(files: Files, config) -> Files:
    """Add the pages that are made."""
    sys.path[:0] = [str(ROOT / folder) for folder in ("caffe-mnc/python", "lib", "tests/caffe")]
    made = {**{site: (ROOT / source).read_text() for source, site in PAGES.items()},
            **dict(layer_pages()), "reference/commands.md": commands_page(), **api_pages()}
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page, config, files) -> str:
    """Links of the repository as links of the site; of what is no page the text stays."""
    site = page.file.src_uri
    source = SOURCES.get(site, f"docs/{site}")
    known = {file.src_uri for file in files}

    def link(found: re.Match) -> str:
        image, text, target, anchor = found.groups()
        place = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        goal = PAGES.get(place, place.removeprefix("docs/") if place.startswith("docs/") else None)
        if goal not in known:
            return text
        way = posixpath.relpath(goal, posixpath.dirname(site) or ".")
        return f"{image}[{text}]({way}{anchor or ''})"

    return LINK.sub(link, markdown)


def layer_pages() -> Iterator[tuple[str, str]]:
    """layers/index.md and layers/TYPE.md for every type of the registry."""
    from caffe.extend import LAYERS, layer_class
    from cases import CASES

    rooms: dict[str, list[str]] = {}
    for name in LAYERS.names():
        kind = layer_class(name)
        if not kind.__module__.startswith("caffe."):
            continue
        room = kind.__module__.removeprefix("caffe.layer_types.").split(".")[0]
        rooms.setdefault(room.replace("_", " "), []).append(name)
        yield f"layers/{name}.md", layer_page(name, kind, CASES.get(name, ()))
    lines = ["# Layers", "", "Every layer type by its family; a page each with its formula, "
             "shapes, fields and an example."]
    for room, names in sorted(rooms.items()):
        lines += ["", f"**{room}**: " + ", ".join(f"[{name}]({name}.md)" for name in names)]
    yield "layers/index.md", "\n".join(lines) + "\n"


def layer_page(name: str, kind: type, cases) -> str:
    """What a type does, bottoms and tops, fields with defaults, an example, how it is tested."""
    doc = (kind.__doc__ or "").strip()
    parts = [f"# {name}", "", *paragraphs(doc), "",
             f"Bottoms: {arity(kind.num_bottom)}. Tops: {arity(kind.num_top)}. "
             f"Code: `{kind.__module__}`.", ""]
    for field in parameter_fields(name, cases):
        parts += field_table(field)
    if cases:
        parts += ["## Example", "", "```", *example(name, cases[0]), "```", ""]
        checked = any(case.gradient for case in cases)
        parts += [f"The contract test runs {len(cases)} forms of it in float64"
                  + (", its gradients against finite differences." if checked
                     else "; it has no gradient there."), ""]
    return "\n".join(parts)


def paragraphs(doc: str) -> list[str]:
    """A docstring as it is laid out: its lines are formulas and tables as often as sentences."""
    first, _, rest = doc.partition("\n\n")
    rest = "\n".join(line.removeprefix("    ") for line in rest.splitlines())
    below = ["```text", rest.rstrip(), "```"] if rest.strip() else []
    return [" ".join(first.split()), "", *below]


def arity(numbers) -> str:
    most = "or more" if numbers.most == float("inf") else f"to {numbers.most}"
    return f"{numbers.least}" if numbers.least == numbers.most else f"{numbers.least} {most}"


def parameter_fields(name: str, cases) -> list[str]:
    """Names of the fields of LayerParameter that hold this type's options."""
    from caffe.proto.caffe_pb2 import LayerParameter

    fields = LayerParameter.DESCRIPTOR.fields_by_name
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    named = re.findall(r"(\w+_param) *\{", " ".join(case.options for case in cases))
    wanted = dict.fromkeys([f"{snake}_param", f"{name.lower()}_param", *named])
    return [field for field in wanted if field in fields and fields[field].message_type]


def field_table(field: str) -> list[str]:
    """The fields of an options message."""
    from caffe.proto.caffe_pb2 import LayerParameter

    message = LayerParameter.DESCRIPTOR.fields_by_name[field].message_type
    rows = [f"| `{each.name}` | {type_name(each)} | {default(each)} |" for each in message.fields]
    return [f"## {field}", "", "| field | type | default |", "|---|---|---|", *rows, ""]


def type_name(field) -> str:
    kinds = {value: key.removeprefix("TYPE_").lower() for key, value in vars(type(field)).items()
             if key.startswith("TYPE_")}
    name = field.message_type.name if field.message_type else " ".join(
        value.name for value in field.enum_type.values) if field.enum_type else kinds[field.type]
    return f"{name}, repeated" if repeated(field) else name


def repeated(field) -> bool:
    """`label` is gone from newer protobufs, `is_repeated` not there in older ones."""
    known = hasattr(field, "is_repeated")
    return field.is_repeated if known else field.label == field.LABEL_REPEATED


def default(field) -> str:
    if field.message_type or repeated(field) or not field.has_default_value:
        return ""
    if field.enum_type:
        return field.enum_type.values_by_number[field.default_value].name
    value = field.default_value
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


def example(name: str, case) -> list[str]:
    """A layer as prototxt, laid out."""
    from google.protobuf import text_format

    from caffe.proto.caffe_pb2 import LayerParameter

    layer = LayerParameter(name=name.lower(), type=name)
    layer.bottom.extend(f"bottom{n}" for n in range(len(case.bottoms)))
    layer.top.extend(f"top{n}" for n in range(case.tops))
    text_format.Merge(case.options, layer)
    shapes = ", ".join(f"bottom{n} {' x '.join(map(str, each.shape))}"
                       for n, each in enumerate(case.bottoms))
    body = text_format.MessageToString(layer).rstrip().splitlines()
    return [*([f"# {shapes}"] if shapes else []), "layer {", *(f"  {line}" for line in body), "}"]


def commands_page() -> str:
    """--help of every command."""
    import caffe.cli
    from caffe.commands.registration import TOOLS
    from mnc.cli import parsers
    from mnc.commands.registration import COMMANDS

    parts = ["# Commands and their flags", "", "What each says to `--help`.", "", "## mnc", ""]
    for name in COMMANDS:
        text = parsers(name)[1].format_help().rstrip()
        parts += [f"### mnc {name}", "", "```text", text, "```", ""]
    parts += ["## caffe", "", "```text", said(caffe.cli.main, ["--help"]), "```", ""]
    for name in TOOLS.names():
        parts += [f"### {name}", "", "```text", said(TOOLS.get(name), ["--help"]), "```", ""]
    return "\n".join(parts)


def said(main, words: list[str]) -> str:
    """What a command prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), \
            contextlib.suppress(SystemExit):
        main(words)
    return out.getvalue().rstrip()


def api_pages() -> dict[str, str]:
    """Pages of docstrings."""
    ours = ["mnc.segmenter", "mnc.data", "mnc.data.dataset", "mnc.instances", "mnc.training.loop",
            "mnc.inference", "mnc.evaluation.average_precision", "mnc.config",
            "mnc.drawing.instances"]
    engine = ["caffe.extend", "caffe.pycaffe", "caffe.io", "caffe.net_spec", "caffe.classifier",
              "caffe.detector", "caffe.coord_map", "caffe.testing"]
    return {f"reference/{name}.md": "\n".join(
        [f"# Python: {name}", "", *(f"::: {module}\n" for module in modules)])
        for name, modules in (("mnc", ours), ("caffe", engine))}
