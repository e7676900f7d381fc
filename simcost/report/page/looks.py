"""Style and script of a page: light and dark by the reader's choice, printable, tables that a click sorts. Nothing is fetched."""

from __future__ import annotations

import base64
import hashlib

STYLE = """
:root{color-scheme:light dark;--ink:#1a1a1b;--faint:#5c5c5d;--page:#f4f4f2;--card:#fefefe;--line:#d4d4d2;--link:#0058a3;--mark:#e8f1f8}
@media (prefers-color-scheme:dark){:root{--ink:#ececec;--faint:#a6a6a6;--page:#161617;--card:#212123;--line:#3d3d40;--link:#8cc4f2;--mark:#22323f}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:72rem;margin:0 auto;padding:1.5rem 1rem 3rem}
h1{font-size:1.15rem;margin:0;color:var(--faint);font-weight:600}
h2{font-size:1.2rem;margin:2.2rem 0 .6rem}
p{margin:.4rem 0}
.verdict{font-size:1.45rem;line-height:1.3;font-weight:650;margin:.3rem 0 .5rem;overflow-wrap:anywhere}
.asked,.small{color:var(--faint);font-size:.9rem;overflow-wrap:anywhere}
.heads{display:flex;flex-wrap:wrap;gap:.7rem;margin:1rem 0 0;padding:0}
.heads div{background:var(--card);border:1px solid var(--line);border-radius:.4rem;padding:.55rem .8rem;min-width:9rem;flex:1 1 9rem}
.heads dt{color:var(--faint);font-size:.85rem}
.heads dd{margin:0;font-size:1.3rem;font-weight:650}
.heads dd span{display:block;font-size:.85rem;font-weight:400;color:var(--faint)}
figure{margin:1rem 0;background:var(--card);border:1px solid var(--line);border-radius:.4rem;padding:.6rem}
figure svg{display:block;width:100%;height:auto;max-width:60rem;margin:0 auto}
.wide{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:.4rem;max-height:36rem;overflow-y:auto}
table{border-collapse:collapse;font-size:.88rem;width:100%}
th,td{padding:.28rem .6rem;text-align:left;border-bottom:1px solid var(--line);vertical-align:top}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
td{white-space:nowrap}td.w{white-space:normal;min-width:16rem;max-width:28rem;overflow-wrap:anywhere}
h2::first-letter{text-transform:uppercase}
td[title]{text-decoration:underline dotted var(--faint);text-underline-offset:.2em}
thead th{position:sticky;top:0;background:var(--card);white-space:nowrap;box-shadow:0 1px 0 var(--line)}
th button{all:unset;cursor:pointer;font-weight:650}
th button:focus-visible{outline:2px solid var(--link)}
th[aria-sort=ascending] button::after{content:" \\25B2"}
th[aria-sort=descending] button::after{content:" \\25BC"}
tbody tr:hover{background:var(--mark)}
ul{padding-left:1.2rem}
li{margin:.25rem 0;overflow-wrap:anywhere}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:var(--card);border:1px solid var(--line);border-radius:.4rem;padding:.7rem;font-size:.85rem}
@media print{:root{--ink:#000;--faint:#444;--page:#fff;--card:#fff;--line:#bbb}body{font-size:10pt}.wide{overflow:visible;max-height:none;border:0}
thead th{position:static}figure,tr,.heads div{break-inside:avoid}h2{break-after:avoid}table{font-size:7.5pt}th,td{padding:.1rem .3rem;white-space:normal!important}}
"""

SCRIPT = """
document.querySelectorAll("table").forEach(function(t){t.querySelectorAll("th button").forEach(function(b){b.addEventListener("click",function(){
var h=b.parentNode,i=h.cellIndex,up=h.getAttribute("aria-sort")!=="ascending",body=t.tBodies[0],rows=Array.prototype.slice.call(body.rows);
var key=function(r){var c=r.cells[i],v=c.getAttribute("data-v");return v===null?c.textContent:Number(v)};
rows.sort(function(x,y){var a=key(x),b=key(y),n=typeof a,m=typeof b;
if(n!==m)return n==="number"?-1:1;var d=n==="number"?a-b:a.localeCompare(b);return up?d:-d});
t.querySelectorAll("th").forEach(function(o){o.removeAttribute("aria-sort")});h.setAttribute("aria-sort",up?"ascending":"descending");
rows.forEach(function(r){body.appendChild(r)})})})});
"""


def policy() -> str:
    """What a browser lets the page do: its own style, this very script, no network (W3C, Content Security Policy Level 3)."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"  # fmt: skip
