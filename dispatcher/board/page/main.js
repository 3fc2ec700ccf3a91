const heading = document.createElement("h1");
heading.textContent = "Dispatcher";
const main = document.createElement("main");
main.append(heading);
document.body.append(main);
