// The OpenAI SDK as its users call it; everything it saw goes to stdout as one JSON object.
// usage: node client.mjs URL KEY MODEL
import OpenAI from 'openai'

const [url, apiKey, model] = process.argv.slice(2)
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0, timeout: 30_000 })
const messages = [{ role: 'user', content: 'Tell me about the river.' }]
const limits = { max_tokens: 40, temperature: 0 }

async function streamed(extra = {}) {
  const stream = await client.chat.completions.create({
    model, messages, ...limits, ...extra, stream: true, stream_options: { include_usage: true },
  })
  const seen = { text: '', finish_reason: null, usage: null, chunks: 0 }
  for await (const chunk of stream) {
    const [choice] = chunk.choices
    seen.text += choice?.delta?.content ?? ''
    seen.finish_reason = choice?.finish_reason ?? seen.finish_reason
    seen.usage = chunk.usage ?? seen.usage
    seen.chunks += 1
  }
  return seen
}

async function whole() {
  const answer = await client.chat.completions.create({ model, messages, ...limits })
  const [choice] = answer.choices
  return { text: choice.message.content, finish_reason: choice.finish_reason, usage: answer.usage, chunks: 1 }
}

async function completion() {
  const stream = await client.completions.create({ model, prompt: 'The river', ...limits, stream: true })
  let text = ''
  for await (const chunk of stream) text += chunk.choices[0]?.text ?? ''
  return text
}

async function models() {
  const found = []
  for await (const each of client.models.list()) found.push(each.id)
  return found
}

async function refused(act) {
  try {
    await act()
    return null
  } catch (error) {
    const { status, code, type, param } = error
    return { kind: error.constructor.name, status, code, type, param: param ?? null }
  }
}

const chat = (body, as = client) => () => as.chat.completions.create({ model, messages, ...body })
const stranger = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'sk-nobody', maxRetries: 0 })

console.log(JSON.stringify({
  stream: await streamed(),
  slow: await streamed({ emulator_faults: { slow_first_token_s: 1 } }),
  whole: await whole(),
  completion: await completion(),
  models: await models(),
  errors: {
    bad_key: await refused(chat({}, stranger)),
    bad_key_stream: await refused(chat({ stream: true }, stranger)),
    unknown_model: await refused(chat({ model: 'no-such-model' })),
    bad_body: await refused(chat({ messages: 'hello' })),
    bad_body_stream: await refused(chat({ messages: 'hello', stream: true })),
    too_long: await refused(chat({ messages: [{ role: 'user', content: 'the river '.repeat(100_000) }] })),
    too_long_answer: await refused(chat({ max_tokens: 900_000 })),
  },
}))
