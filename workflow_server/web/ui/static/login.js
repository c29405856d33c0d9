// The form for the token, at which a browser gets its session.
document.querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const output = document.querySelector("output");
  output.textContent = "";
  const token = new FormData(event.target).get("token").trim();
  try {
    const headers = { "Content-Type": "application/json" };
    const answer = await fetch("session", { method: "POST", headers, body: JSON.stringify({ token }) });
    if (answer.ok) location.reload();
    else output.textContent = (await answer.json()).detail;
  } catch {
    output.textContent = "The server cannot be reached.";
  }
});
