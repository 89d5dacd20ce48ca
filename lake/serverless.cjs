"use strict";
// What serverless.yml includes: the output of `silt template --serverless`, from deploy.yml. Before
// a package or a deployment the artifacts are made, where they are missing or old.

const { execFileSync } = require("node:child_process");
const { existsSync } = require("node:fs");
const path = require("node:path");

const bin = process.platform === "win32" ? "Scripts" : "bin";
const ours = path.join(__dirname, ".venv", bin, "silt");
const silt = existsSync(ours) ? ours : "silt";

function run(args, stdout, variables) {
  try {
    return execFileSync(silt, args, {
      cwd: __dirname,
      encoding: "utf8",
      env: { ...process.env, ...variables },
      maxBuffer: 64 << 20,
      stdio: ["ignore", stdout, "inherit"],
    });
  } catch (error) {
    const why =
      error.code === "ENOENT" ? "the command is not installed: pipx install 'silt-delta[cli]', or make setup in a clone" : "see above";
    throw new Error(`silt ${args.join(" ")} failed: ${why}`);
  }
}

let told;

// The framework asks once for each value that it includes.
module.exports = async ({ resolveVariable }) => {
  const deployment = await resolveVariable("param:deployment, 'deploy.yml'");
  if (told === undefined) {
    told = JSON.parse(run(["template", deployment, "--serverless"], "pipe"));
    if (process.argv.includes("package") || process.argv.includes("deploy")) {
      // To standard error: what the framework prints to standard output is for scripts.
      run(["package", "--deployment", deployment], 2);
    }
  }
  return told;
};
module.exports.run = run;
