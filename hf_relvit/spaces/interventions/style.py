"""How the page looks, and the little that the browser does by itself."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np

from hf_relvit.stimuli.objects import ObjectSet
from hf_relvit.stimuli.png import encode_png

FONTS = ("system-ui", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif")
"""Fonts of the machine: none is fetched."""

MOVED_JS = "() => document.dispatchEvent(new CustomEvent('moved', {{detail: '#{board}-board'}}))"
"""Tells a board that the page shows its last moves."""

BOARD_JS = """
const moves = [];  // made while the last ones are under way: they would start from a scene that is no longer shown
let sent = 0;
const send = () => {
  sent = moves.length ? Date.now() : 0;
  if (sent) trigger('click', {moves: moves.splice(0, 100)});
};
const make = (move) => {
  moves.push(move);
  if (Date.now() - sent > 15000) send();  // no answer came, or none is awaited
};
document.addEventListener('moved', (event) => { if (element.closest(event.detail)) send(); });
element.tabIndex = 0;
element.setAttribute('role', 'application');
element.setAttribute('aria-label', 'Picture with objects: arrow keys move the selected one');
element.addEventListener('click', (event) => {
  const picture = element.querySelector('svg.board image');
  if (!picture) return;
  const box = picture.getBoundingClientRect();
  const x = (event.clientX - box.left) / box.width, y = (event.clientY - box.top) / box.height;
  if (x >= 0 && x <= 1 && y >= 0 && y <= 1) make({x, y});
});
element.addEventListener('keydown', (event) => {
  if (!event.key.startsWith('Arrow')) return;
  event.preventDefault();
  make({key: event.key});
});
"""
LINK_JS = """(query) => {
  if (!query) return;
  history.replaceState(null, '', '?' + query);
  if (window.parent !== window) window.parent.postMessage({queryString: query}, 'https://huggingface.co');
}"""
"""Keeps the address of the page up to date; inside the Hub's frame it is the Hub that shows the address."""

KEYBOARD_JS = """() => {
  const group = (radio) => [...radio.closest('.wrap').querySelectorAll('input[type=radio]')];
  const isRadio = (element) => element instanceof HTMLInputElement && element.type === 'radio';
  document.addEventListener('focusin', (event) => {
    if (!isRadio(event.target) || group(event.target).includes(event.relatedTarget)) return;
    const chosen = event.target.closest('.wrap').querySelector('.selected input');
    if (chosen && event.target.matches(':focus-visible')) chosen.focus();
  });
  document.addEventListener('keydown', (event) => {
    if (!isRadio(event.target)) return;
    const all = group(event.target), step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
    if (event.key === 'Tab') {
      for (const other of all) if (other !== event.target) other.tabIndex = -1;
      setTimeout(() => all.forEach((other) => { other.tabIndex = 0; }));
    } else if (step) {
      event.preventDefault();
      const next = all[(all.indexOf(event.target) + step + all.length) % all.length];
      next.focus();
      next.click();
    }
  });
}"""
"""One tab stop per group, arrow keys within: Gradio 6.31 gives each radio button a group of its own."""


QUEUE_JS = """() => {
  const place = document.querySelector('#queue');
  const sentence = document.createElement('p');
  sentence.setAttribute('role', 'status');
  place.after(sentence);
  sentence.id = 'queue-sentence';
  const say = () => {
    const tracker = place.querySelector('.progress-text');
    const found = tracker && tracker.textContent.match(/queue: (\\d+)\\/(\\d+)/);
    let said = tracker ? 'The model is working. Your change is kept.' : '';
    if (found && Number(found[1]) > 1) {
      said = `You are number ${found[1]} of ${found[2]} who wait for the model. Your change is kept: ` +
        'wait here, and the answer comes by itself.';
    }
    if (sentence.textContent !== said) sentence.textContent = said;
    sentence.classList.toggle('waiting', said !== '');
  };
  new MutationObserver(say).observe(place, {subtree: true, childList: true, characterData: true});
}"""
"""Tells those who wait where they are in the queue: Gradio's "queue: 2/5" in a sentence, shown after a moment."""


def theme(themes: Any) -> Any:
    """Gradio's default theme in our colors; its own gray has a contrast of 2.56:1 on white, below WCAG AA (4.5:1).

    Args:
        themes: the module ``gradio.themes``.
    """
    made = themes.Default(primary_hue="indigo", neutral_hue="slate", font=FONTS)
    return made.set(
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
        block_title_text_color="*neutral_700",
        block_title_text_color_dark="*neutral_200",
        input_placeholder_color="*neutral_600",
        input_placeholder_color_dark="*neutral_300",
    )


def css() -> str:
    """style.css, and a swatch for each shape and color."""
    objects = ObjectSet.default()
    rules = [Path(__file__).with_name("style.css").read_text(encoding="utf-8")]
    for i, color in enumerate(objects.palette.tolist(), 1):
        rules.append(
            f"#colors label:nth-of-type({i}) {{ --swatch: rgb({color[0]} {color[1]} {color[2]}); }}"
        )
    for i, mask in enumerate(objects.sprites(32), 1):
        picture = encode_png(np.where(mask, 0, 255).astype(np.uint8)[..., None].repeat(3, -1))
        data = base64.b64encode(picture).decode()
        rules.append(
            f"#shapes label:nth-of-type({i}) {{ --swatch: url(data:image/png;base64,{data}); }}"
        )
    return "\n".join(rules)
