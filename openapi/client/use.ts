// Compiled by make openapi-check, never run: it says what the types that
// openapi-typescript makes must be good for.
import type { components, paths } from './api.js';

type Message = components['schemas']['Message'];
type StreamEvent = components['schemas']['StreamEvent'];
type Send = paths['/v1/conversations/{id}/messages']['post'];

export const request: Send['requestBody']['content']['application/json'] = { type: 'text', text: 'hello' };

// @ts-expect-error a message needs its type
export const wrong: Send['requestBody']['content']['application/json'] = { text: 'hello' };

export const answer = (m: Send['responses'][201]['content']['application/json']): Message => m;

export const name = (c: components['schemas']['Conversation']): string => c.name ?? c.lastMessage?.text ?? c.id;

export const why = (p: components['schemas']['Problem']): string =>
  p.code === 'invalid_request' ? (p.errors ?? []).map((e) => e.field).join() : p.detail;

// The events are told apart by their name.
export function text(e: StreamEvent): string | undefined {
  switch (e.event) {
    case 'message':
      return e.data.message.text;
    case 'members_joined':
      return e.data.members.join();
    case 'ready':
      return e.data.position;
    default:
      return undefined;
  }
}
