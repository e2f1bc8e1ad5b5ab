// The OpenAI SDK and the AI SDK with the pacer of client_js; what was shown when goes to stdout as one JSON object.
// usage: node paced.mjs URL KEY MODEL RATE
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { streamText } from 'ai'
import OpenAI from 'openai'
import { pacedChunks, paceTransform } from '../../../client_js/dist/transform.js'

const [url, apiKey, model, rate] = process.argv.slice(2)
const options = { rate: Number(rate), afterEnd: 1 } // the end is no faster, so that one bound holds for all of it
const messages = [{ role: 'user', content: 'Tell me about the river.' }]

/** The text, and [milliseconds since the first piece, characters shown by then] for each piece. */
async function watched(texts) {
  let text = ''
  let first = null
  const shown = []
  for await (const piece of texts) {
    if (!piece) continue
    first ??= performance.now()
    text += piece
    shown.push([performance.now() - first, [...text].length])
  }
  return { text, shown }
}

async function* contents(chunks) {
  for await (const chunk of chunks) yield chunk.choices[0]?.delta?.content ?? ''
}

const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 })
const ask = { model, messages, max_tokens: 60, temperature: 0, stream: true }
const provider = createOpenAICompatible({ name: 'andante', baseURL: `${url}/v1`, apiKey })
const request = { model: provider(model), messages, maxOutputTokens: 60, temperature: 0, maxRetries: 0 }

console.log(JSON.stringify({
  plain: await watched(contents(await openai.chat.completions.create(ask))),
  openai: await watched(contents(pacedChunks(await openai.chat.completions.create(ask), options))),
  ai: await watched(streamText({ ...request, experimental_transform: paceTransform(options) }).textStream),
}))
