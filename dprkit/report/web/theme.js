// Before the first paint: the theme, as it was chosen here or as the system has it, and whether this browser can
// read the page at all. Old browsers run this too, so it is written in the language of 2009.
(function () {
  var root = document.documentElement, chosen = null, dark = window.matchMedia && matchMedia("(prefers-color-scheme: dark)").matches;
  try { chosen = localStorage.getItem("dprkit-theme"); } catch (error) { /* a file may have no storage */ }
  root.setAttribute("data-theme", chosen === "dark" || chosen === "light" ? chosen : dark ? "dark" : "light");
  root.className = typeof DecompressionStream === "function" ? "scripted" : "old";
  window.addEventListener("error", function (event) {
    var place = document.querySelector(".waiting");
    if (place) place.textContent = "This report cannot be shown here: " + event.message;
  });
})();
