"""The OpenAPI document as a readable page: made once, without scripts, in the colours of the reader's system."""

from __future__ import annotations

import json
from html import escape
from typing import Any, Final

STYLE: Final = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 20%, transparent); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: 1rem; }
h2 code { font-size: 1.1rem; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line); }
pre { overflow-x: auto; padding: .8rem; border: 1px solid var(--line); border-radius: .4rem; }
code, pre { font-family: ui-monospace, monospace; font-size: .9rem; }
.verb { font-weight: 700; }
"""


def docs_page(document: dict[str, Any]) -> bytes:
    """The document as HTML."""
    info = document["info"]
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<title>{escape(info["title"])}</title><link rel="stylesheet" href="/docs/style.css"></head><body><main>',
        f"<h1>{escape(info['title'])}</h1><p>{escape(info.get('description', ''))}</p>",
        '<p>The same as a document for programs: <a href="/openapi.json">openapi.json</a>.</p>',
    ]
    operations = [(path, verb, one) for path, item in document["paths"].items() for verb, one in item.items()]
    parts.append("<nav><ul>")
    parts += [
        f'<li><a href="#{one["operationId"]}"><code>{verb.upper()} {escape(path)}</code></a> '
        f"{escape(one.get('summary', ''))}</li>"
        for path, verb, one in operations
    ]
    parts.append("</ul></nav>")
    for path, verb, one in operations:
        parts += _operation(document, path, verb, one)
    parts += _problems(document)
    parts.append("</main></body></html>")
    return "".join(parts).encode()


def _operation(document: dict[str, Any], path: str, verb: str, one: dict[str, Any]) -> list[str]:
    parts = [
        f'<h2 id="{one["operationId"]}"><code><span class="verb">{verb.upper()}</span> {escape(path)}</code></h2>',
        f"<p>{escape(one.get('summary', ''))}. {escape(one.get('description', ''))}</p>",
    ]
    if parameters := one.get("parameters"):
        parts.append("<table><thead><tr><th>parameter</th><th>in</th><th>type</th><th></th></tr></thead><tbody>")
        for parameter in parameters:
            needed = " (required)" if parameter.get("required") else ""
            kind = _type(document, parameter.get("schema", {}))
            about = escape(parameter.get("description") or "")
            parts.append(
                f"<tr><td><code>{escape(parameter['name'])}</code>{needed}</td><td>{parameter['in']}</td>"
                f"<td>{escape(kind)}</td><td>{about}</td></tr>"
            )
        parts.append("</tbody></table>")
    if body := one.get("requestBody"):
        schema = next(iter(body["content"].values()))["schema"]
        parts.append(f"<p>Body: <code>{escape(_type(document, schema))}</code></p>")
    for code, answer in sorted(one["responses"].items()):
        forms = answer.get("content", {})
        about = escape(answer.get("description", ""))
        parts.append(f"<p><code>{code}</code> {about} <small>{escape(', '.join(forms))}</small></p>")
        shown = [example["value"] for form in forms.values() for example in (form.get("examples") or {}).values()]
        parts += [f"<pre>{escape(json.dumps(value, indent=1, ensure_ascii=False))}</pre>" for value in shown]
    return parts


def _problems(document: dict[str, Any]) -> list[str]:
    """The targets of the `type` of problems."""
    parts = ["<h2>Problems</h2><p>Errors are <code>application/problem+json</code>, RFC 9457.</p><dl>"]
    for title in document["x-problems"]:
        name = title.lower().replace(" ", "-")
        parts.append(f'<dt id="{name}"><code>{name}</code></dt><dd>{escape(document["x-problems"][title])}</dd>')
    return [*parts, "</dl>"]


def _type(document: dict[str, Any], schema: dict[str, Any]) -> str:
    """A type in few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        properties = document["components"]["schemas"][name].get("properties", {})
        return "{" + ", ".join(f"{key}: {_type(document, value)}" for key, value in properties.items()) + "}"
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "oneOf" in schema:
        return " | ".join(_type(document, one) for one in schema["oneOf"] if one.get("type") != "null")
    if schema.get("type") == "array":
        return f"list of {_type(document, schema.get('items', {}))}"
    kind = schema.get("type", "any")
    bounds = [f"{word} {schema[key]}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in schema]
    return " ".join([kind if isinstance(kind, str) else " | ".join(kind), *bounds])
