using System.Buffers;
using System.Diagnostics;
using System.IO.Compression;
using System.Text.Json;
using Npgsql;
using Platform.Contracts;
using Platform.Postgres;
using Platform.ServiceDefaults;

namespace Platform.Messaging;

/// <summary>Sending is writing: a message is a row of the same transaction as the change it tells about, and the relay carries it on.</summary>
public static class Outbox
{
    // Below this, compressing costs more than it saves.
    private const int CompressFrom = 4096;

    /// <summary>Sends with the transaction: committed means it will arrive, rolled back means it never was.</summary>
    public static Task SendAsync<T>(this NpgsqlTransaction tx, T message, CancellationToken ct) where T : IMessage =>
        SendAsync(tx, T.Topic, JsonSerializer.SerializeToUtf8Bytes(message, WireJson.Options), ct);

    /// <summary>For a sender that writes the body itself (the batches of event ingest): UTF-8 JSON of the message type that owns <paramref name="topic"/>.</summary>
    public static Task SendAsync(this NpgsqlTransaction tx, string topic, ReadOnlyMemory<byte> body, CancellationToken ct)
    {
        var (stored, encoding) = Stored(body);
        var headers = Headers();
        return tx.ExecuteAsync(
            $"insert into outbox (message_id, topic, body, encoding, headers) values ({Guid.CreateVersion7()}, {topic}, {stored}, {encoding}, {Queries.Jsonb(headers)})",
            ct);
    }

    /// <summary>Sends many messages in one statement, in the order given.</summary>
    public static Task SendAllAsync<T>(this NpgsqlTransaction tx, IReadOnlyList<T> messages, CancellationToken ct) where T : IMessage
    {
        if (messages.Count == 0)
        {
            return Task.CompletedTask;
        }

        var headers = Headers();
        var stored = messages.Select(message => Stored(JsonSerializer.SerializeToUtf8Bytes(message, WireJson.Options))).ToList();
        return tx.ExecuteAsync($"""
            insert into outbox (message_id, topic, body, encoding, headers)
            select id, {T.Topic}, body, encoding, {Queries.Jsonb(headers)}
            from unnest({messages.Select(_ => Guid.CreateVersion7()).ToArray()}, {stored.Select(one => one.Body.ToArray()).ToArray()}, {Queries.Texts(stored.Select(one => one.Encoding))})
                with ordinality as m (id, body, encoding, place)
            order by place
            """, ct);
    }

    private static (ReadOnlyMemory<byte> Body, string? Encoding) Stored(ReadOnlyMemory<byte> body) =>
        body.Length < CompressFrom ? (body, null) : (Compress(body.Span), "br");

    private static string Headers() => JsonSerializer.Serialize(new Dictionary<string, string?>
    {
        ["traceparent"] = Activity.Current?.Id,
        ["tracestate"] = Activity.Current?.TraceStateString,
        ["correlation-id"] = Correlation.Current,
    });

    internal static ReadOnlyMemory<byte> Compress(ReadOnlySpan<byte> body)
    {
        var buffer = ArrayPool<byte>.Shared.Rent(BrotliEncoder.GetMaxCompressedLength(body.Length));
        try
        {
            // Quality 1, window 2^18: a few times smaller for a microsecond per event.
            return BrotliEncoder.TryCompress(body, buffer, out var written, quality: 1, window: 18)
                ? buffer.AsSpan(0, written).ToArray()
                : throw new InvalidOperationException("A message did not fit the buffer that its compressor asked for.");
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    /// <exception cref="InvalidDataException">The body is not what <see cref="Compress"/> makes, or is larger than <paramref name="limit"/>.</exception>
    internal static ReadOnlyMemory<byte> Decompress(ReadOnlyMemory<byte> body, int limit)
    {
        using var input = new BrotliStream(new MemoryStream(body.ToArray(), writable: false), CompressionMode.Decompress);
        var output = new ArrayBufferWriter<byte>(Math.Min(limit, body.Length * 6 + 1024));
        while (true)
        {
            var read = input.Read(output.GetSpan(16 * 1024));
            if (read == 0)
            {
                return output.WrittenMemory;
            }

            output.Advance(read);
            if (output.WrittenCount > limit)
            {
                throw new InvalidDataException($"A message is larger than {limit} bytes when decompressed.");
            }
        }
    }
}
