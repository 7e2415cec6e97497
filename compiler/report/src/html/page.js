(function () {
  "use strict";
  var query = document.getElementById("q");
  var space = document.getElementById("ns");
  var shown = document.getElementById("shown");
  if (!query) { return; }
  var rows = Array.prototype.slice.call(document.getElementById("rows").rows);
  var texts = rows.map(function (row) { return row.textContent.toLowerCase(); });
  function filter() {
    var words = query.value.toLowerCase().split(/\s+/).filter(Boolean);
    var count = 0;
    rows.forEach(function (row, i) {
      var there = words.every(function (w) { return texts[i].indexOf(w) >= 0; }) &&
        (!space.value || row.dataset.ns.split(" ").indexOf(space.value) >= 0);
      row.hidden = !there;
      if (there) { count += 1; }
    });
    shown.textContent = count + " of " + rows.length + (rows.length === 1 ? " row" : " rows");
  }
  query.addEventListener("input", filter);
  space.addEventListener("change", filter);
  query.closest(".tools").hidden = false;
  filter();
})();
