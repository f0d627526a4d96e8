function showAllValidations() {
  document.querySelectorAll("tr, section, .ge-section").forEach((part) => { part.style.display = ""; });
}
function hideSucceededValidations() {
  document.querySelectorAll(".hide-succeeded-validation-target-child").forEach((part) => { part.closest("tr").style.display = "none"; });
  document.querySelectorAll(".hide-succeeded-validations-column-section-target-child").forEach((part) => { part.closest(".ge-section").style.display = "none"; });
}
document.querySelectorAll("[data-toggle=collapse]").forEach((link) => {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    document.getElementById(link.getAttribute("href").slice(1)).classList.toggle("show");
  });
});
