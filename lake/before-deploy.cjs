"use strict";
// A plugin that looks, before anything is deployed, at what is deployed now: function and mapping are
// updated one after the other, and what that would lose records by is stopped.
// `--param=look=false` deploys unseen.

const { run } = require("./serverless.cjs");

module.exports = class BeforeDeploy {
  constructor(serverless, options) {
    const look = () => this.look(serverless, options);
    this.hooks = { "before:deploy:deploy": look, "before:deploy:function:deploy": look };
  }

  async look(serverless, options) {
    const { deployment, region, look } = serverless.service.custom;
    if (String(look) === "false") return;
    const provider = serverless.getProvider("aws");
    if (provider.getRegion() !== region) {
      throw new Error(
        `--region is ${provider.getRegion()}, and ${deployment} deploys to ${region}. Leave it out.`,
      );
    }
    // The command is told whose the account is, so that it cannot look at another one.
    const account = await provider.getAccountId();
    const profile = options["aws-profile"];
    run(
      ["doctor", deployment, "--before-deploy", "--account", account],
      2,
      profile ? { AWS_PROFILE: profile } : {},
    );
  }
};
