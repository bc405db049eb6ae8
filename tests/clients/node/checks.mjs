// The npm packages `openai` and `ai` against the service: node checks.mjs CLIENT CHECK URL MODEL
import assert from "node:assert/strict";

const [client, check, url, model] = process.argv.slice(2);
const parameters = {
  type: "object",
  properties: { city: { type: "string", enum: ["Oslo", "Paris"] } },
  required: ["city"],
  additionalProperties: false,
};
const france = "What is the capital of France? Answer in one sentence.";
const weather = "What is the weather in Paris?";

async function openai() {
  const { default: OpenAI } = await import("openai");
  const api = new OpenAI({ baseURL: `${url}/v1`, apiKey: "not-needed", maxRetries: 0 });
  const messages = [{ role: "user", content: france }];
  const tools = [{ type: "function", function: { name: "get_weather", parameters } }];
  return {
    chat: async () => {
      const answer = await api.chat.completions.create({ model, messages, max_tokens: 30, temperature: 0 });
      assert.match(answer.choices[0].message.content, /Paris/);
    },
    stream: async () => {
      let text = "";
      const parts = await api.chat.completions.create({ model, messages, max_tokens: 30, temperature: 0, stream: true });
      for await (const part of parts) text += part.choices[0]?.delta?.content ?? "";
      assert.match(text, /Paris/);
    },
    tools: async () => {
      const answer = await api.chat.completions.create({
        model,
        messages: [{ role: "user", content: weather }],
        tools,
        tool_choice: "required",
        max_tokens: 80,
      });
      const call = answer.choices[0].message.tool_calls[0];
      assert.ok(["Oslo", "Paris"].includes(JSON.parse(call.function.arguments).city));
    },
    responses: async () => {
      const answer = await api.responses.create({ model, input: france, max_output_tokens: 60, temperature: 0 });
      assert.match(answer.output_text, /Paris/);
    },
  };
}

async function ai() {
  const { generateObject, generateText, streamText, tool } = await import("ai");
  const { createOpenAICompatible } = await import("@ai-sdk/openai-compatible");
  const { z } = await import("zod");
  const provider = createOpenAICompatible({
    name: "slmdesk",
    baseURL: `${url}/v1`,
    supportsStructuredOutputs: true,
    includeUsage: true,
  });
  const common = { model: provider(model), temperature: 0, maxOutputTokens: 80, maxRetries: 0 };
  return {
    chat: async () => assert.match((await generateText({ ...common, prompt: france })).text, /Paris/),
    stream: async () => {
      let text = "";
      for await (const part of streamText({ ...common, prompt: france }).textStream) text += part;
      assert.match(text, /Paris/);
    },
    tools: async () => {
      const seen = [];
      const city = z.object({ city: z.enum(["Oslo", "Paris"]) });
      const execute = async (given) => (seen.push(given.city), "Heavy snow");
      const tools = { get_weather: tool({ description: "Weather.", inputSchema: city, execute }) };
      await generateText({ ...common, prompt: weather, tools, toolChoice: "required" });
      assert.equal(seen.length, 1);
    },
    "structured output": async () => {
      const schema = z.object({ city: z.enum(["Oslo", "Paris"]), days: z.number().int().min(1).max(5) });
      const { object } = await generateObject({ ...common, prompt: weather, schema });
      assert.ok(object.days >= 1 && object.days <= 5);
    },
  };
}

await (await { openai, ai }[client]())[check]();
