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
    import caffe
    from caffe.extend import LAYERS, layer_class

    caffe.init_log(2)           # nets are made for the shapes of their tops
    cases, others = contract_cases(), other_examples()
    rooms: dict[str, list[str]] = {}
    for name in LAYERS.names():
        kind = layer_class(name)
        if not kind.__module__.startswith("caffe."):
            continue
        room = kind.__module__.removeprefix("caffe.layer_types.").split(".")[0]
        rooms.setdefault(room.replace("_", " "), []).append(name)
        yield f"layers/{name}.md", layer_page(name, kind, cases.get(name, ()), others)
    lines = ["# Layers", "", "Every layer type by its family; a page each with its formula, "
             "shapes, fields and an example."]
    for room, names in sorted(rooms.items()):
        lines += ["", f"**{room}**: " + ", ".join(f"[{name}]({name}.md)" for name in names)]
    yield "layers/index.md", "\n".join(lines) + "\n"


def contract_cases() -> dict:
    """The forms of each type that tests/caffe/test_layer_contract.py runs."""
    import cases
    import cases_faces
    import cases_forks
    import cases_regions

    families = (cases, cases_forks, cases_regions, cases_faces)
    return {kind: found for family in families for kind, found in family.CASES.items()}


def other_examples() -> dict:
    """{type: layer} for types that the contract test does not run."""
    from caffe.extend import read_net

    return {layer.type: layer for layer in read_net(str(ROOT / "tools/site/layers.prototxt")).layer}


def layer_page(name: str, kind: type, cases, others) -> str:
    """What a type does, bottoms and tops, fields with defaults, an example, how it is tested."""
    parts = [f"# {name}", "", *what_it_does(name, kind)]
    for field in parameter_fields(name, cases, others.get(name)):
        parts += field_table(field)
    if cases:
        parts += ["## Example", "", "```", *example(name, cases[0]), "```", ""]
        checked = any(case.gradient for case in cases)
        forms = f"{len(cases)} forms" if len(cases) > 1 else "one form"
        parts += [f"The contract test runs {forms} of it in float64"
                  + (", its gradients against finite differences." if checked
                     else "; it has no gradient there."), ""]
    elif name in others:
        parts += ["## Example", "", "```", *as_prototxt(others[name]), "```", ""]
        parts += ["Its gradient is what your class computes in `backward`." if name == "Python"
                  else "It has no gradient.", ""]
    return "\n".join(parts)


def what_it_does(name: str, kind: type) -> Iterator[str]:
    """The docstring, bottoms and tops of a type; of each class, where options choose among some."""
    from caffe.extend import LAYERS, Layer

    entry = LAYERS.get(name)
    yield from (*paragraphs((entry.__doc__ or "").strip()), "")
    kinds = {kind.__name__: kind}
    if kind is Layer and not isinstance(entry, type):
        room = vars(sys.modules[entry.__module__])
        named = dict.fromkeys(re.findall(r"\w+", entry.__doc__))
        found = {word: room[word] for word in named if isinstance(room.get(word), type)
                 and issubclass(room[word], Layer) and room[word] is not Layer}
        kinds = found or kinds
    for each, of in kinds.items():
        if entry is not of:
            yield from (f"**{each}**", "", *paragraphs((of.__doc__ or "").strip()), "")
        yield from (f"Bottoms: {arity(of.num_bottom)}. Tops: {arity(of.num_top)}. "
                    f"Code: `{of.__module__}`.", "")


def paragraphs(doc: str) -> list[str]:
    """A docstring as it is laid out: its lines are formulas and tables as often as sentences."""
    first, _, rest = doc.partition("\n\n")
    rest = "\n".join(line.removeprefix("    ") for line in rest.splitlines())
    below = ["```text", rest.rstrip(), "```"] if rest.strip() else []
    return [" ".join(first.split()), "", *below]


def arity(numbers) -> str:
    most = "or more" if numbers.most == float("inf") else f"to {numbers.most}"
    return f"{numbers.least}" if numbers.least == numbers.most else f"{numbers.least} {most}"


def parameter_fields(name: str, cases, other=None) -> list[str]:
    """Names of the fields of LayerParameter that hold this type's options."""
    from caffe.proto.caffe_pb2 import LayerParameter

    fields = LayerParameter.DESCRIPTOR.fields_by_name
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    named = re.findall(r"(\w+_param) *\{", " ".join(case.options for case in cases))
    named += [field.name for field, _ in (other.ListFields() if other else ())]
    wanted = dict.fromkeys([f"{snake}_param", f"{name.lower()}_param", *named])
    wanted.pop("include", None)
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
    lines = [f"# bottom{n}: {' x '.join(map(str, each.shape)) or 'a number'}"
             for n, each in enumerate(case.bottoms)]
    return [*lines, *(f"# {line}" for line in made_shapes(name, case)), *as_prototxt(layer)]


def made_shapes(name: str, case) -> list[str]:
    """Shapes of the tops and the parameters of a case, as a net has them."""
    import numpy as np

    from caffe.engine.formats.prototxt import read_net
    from caffe.engine.layer import Phase
    from caffe.engine.net.net import Net
    from test_layer_contract import prototxt

    net = Net.from_proto(read_net(prototxt(name, case)), Phase[case.phase])
    random = np.random.default_rng(7)
    for n, bottom in enumerate(case.bottoms):
        net.blobs[f"b{n}"].data[...] = bottom.draw(bottom.shape, random)
    net.forward()
    made = {f"top{n}": net.blobs[f"t{n}"].data.shape for n in range(case.tops)}
    made |= {f"parameter {n}": blob.data.shape for n, blob in enumerate(net.params.get("l", ()))}
    return [f"{what}: {' x '.join(map(str, shape)) or 'a number'}" for what, shape in made.items()]


def as_prototxt(layer) -> list[str]:
    from google.protobuf import text_format

    body = text_format.MessageToString(layer).rstrip().splitlines()
    return ["layer {", *(f"  {line}" for line in body), "}"]


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
