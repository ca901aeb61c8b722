// Steps through the cases of each gallery by buttons, arrow keys and swipes; without this script all are shown below each other.
let active = null;
for (const box of document.querySelectorAll(".cases")) {
  const cases = [...box.querySelectorAll("article")], nav = box.querySelector("nav");
  const buttons = [...nav.querySelectorAll("[data-case]")];
  let at = 0, start = null;
  const show = (i) => {
    at = (i + cases.length) % cases.length;
    cases.forEach((one, k) => { one.hidden = k !== at; });
    buttons.forEach((one, k) => one.setAttribute("aria-current", String(k === at)));
    active = step;
  };
  const step = (by) => show(at + by);
  nav.hidden = cases.length < 2;
  buttons.forEach((one, k) => one.addEventListener("click", () => show(k)));
  nav.querySelectorAll("[data-step]").forEach((one) => one.addEventListener("click", () => step(Number(one.dataset.step))));
  box.addEventListener("pointerenter", () => { active = step; });
  box.addEventListener("focusin", () => { active = step; });
  box.addEventListener("touchstart", (e) => { start = e.changedTouches[0]; }, { passive: true });
  box.addEventListener("touchend", (e) => {
    const end = e.changedTouches[0], x = end.clientX - start.clientX, y = end.clientY - start.clientY;
    if (Math.abs(x) > 40 && Math.abs(x) > 2 * Math.abs(y)) step(x < 0 ? 1 : -1);
  }, { passive: true });
  show(0);
}
active = null;
document.addEventListener("keydown", (e) => {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
  if (!by || e.altKey || e.ctrlKey || e.metaKey || e.target.closest(".wide, pre")) return;
  const first = document.querySelector(".cases [data-step='" + by + "']");
  if (active) active(by); else if (first) first.click(); else return;
  e.preventDefault();
});
