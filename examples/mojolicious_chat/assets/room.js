// What is to be seen of the room.
const list = document.getElementById("messages");

function show(message) {
  const item = document.createElement("li");
  item.textContent = `${message.name}: ${message.text}`;
  list.append(item);
}

const send = connect((message) => {
  if (message.type === "welcome") {
    list.replaceChildren();
    message.messages.forEach(show);
  } else if (message.type === "message") {
    show(message);
  }
});

document.getElementById("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = document.getElementById("text");
  send({ name: document.getElementById("name").value, text: text.value });
  text.value = "";
});
