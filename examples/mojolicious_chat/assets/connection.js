// The connection to the room. The server that the page came from may be stopped after a deploy: whoever is
// cut off connects again, and finds the new release.
const FIRST_PAUSE = 250;
const LONGEST_PAUSE = 10000;

function connect(receive) {
  let socket;
  let pause = FIRST_PAUSE;

  function open() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    socket = new WebSocket(`${scheme}//${location.host}/room`);
    socket.onopen = () => {
      pause = FIRST_PAUSE;
    };
    socket.onmessage = (event) => receive(JSON.parse(event.data));
    socket.onclose = () => {
      setTimeout(open, pause * (0.5 + Math.random()));
      pause = Math.min(2 * pause, LONGEST_PAUSE);
    };
  }

  open();
  return (message) => socket.send(JSON.stringify(message));
}
