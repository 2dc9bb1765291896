"use strict";
const field = document.getElementById("filter");
const count = document.getElementById("count");
const clips = field ? [...document.querySelectorAll(".clips > li")] : [];
const texts = clips.map((clip) => clip.dataset.text.toLowerCase());

function filter() {
  const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  clips.forEach((clip, place) => {
    clip.hidden = !words.every((word) => texts[place].includes(word));
    shown += !clip.hidden;
  });
  count.textContent = `${shown} of ${clips.length} clips shown`;
}

if (field) {
  field.addEventListener("input", filter);
  filter();
}

// One clip at a time: comparing by ear needs silence around it.
document.addEventListener("play", (event) => {
  for (const player of document.querySelectorAll("audio")) {
    if (player !== event.target) player.pause();
  }
}, true);
