using System.Buffers;
using System.IO.Compression;
using Microsoft.AspNetCore.Http.Features;

namespace Platform.Metrics.Intake;

/// <summary>A body of which nothing is taken. The message is for the sender and names the remedy; each intake answers it in its own shape.</summary>
internal sealed class RefusedBodyException(string message, int status = StatusCodes.Status400BadRequest) : Exception(message)
{
    public int Status => status;
}

/// <summary>
/// Reads and decompresses the bodies of all intakes into pooled buffers. What they hold together is bounded: beyond that, senders are told
/// to come again, whatever the number of connections.
/// </summary>
internal sealed class IntakeBodies(IntakeOptions options)
{
    private const int FirstBytes = 64 * 1024;

    private long _used;

    public long BytesInUse => Volatile.Read(ref _used);

    /// <summary>The body as it came over the wire.</summary>
    /// <exception cref="RefusedBodyException">413 or 429.</exception>
    public async Task<PooledBytes> ReadAsync(HttpRequest request, CancellationToken ct)
    {
        if (request.ContentLength > options.MaxRequestBytes)
        {
            throw TooLarge();
        }

        Unlimit(request);
        return await ReadAsync(request.Body, request.ContentLength ?? FirstBytes, options.MaxRequestBytes, TooLarge, ct);
    }

    /// <summary>The body, decompressed if it is gzip.</summary>
    /// <exception cref="RefusedBodyException">Also 400 and 415.</exception>
    public async Task<PooledBytes> ReadPlainAsync(HttpRequest request, CancellationToken ct)
    {
        switch (request.Headers.ContentEncoding.ToString().ToLowerInvariant())
        {
            case "" or "identity":
                return await ReadAsync(request, ct);
            case "gzip":
                break;
            case var other:
                throw new RefusedBodyException($"The Content-Encoding {other} is not understood here; send gzip, or none.", StatusCodes.Status415UnsupportedMediaType);
        }

        using var compressed = await ReadAsync(request, ct);
        await using var gzip = new GZipStream(new MemoryStream(compressed.Array, 0, compressed.Length, writable: false), CompressionMode.Decompress);
        try
        {
            return await ReadAsync(gzip, 4L * compressed.Length, options.MaxDecodedBytes, DecodedTooLarge, ct);
        }
        catch (InvalidDataException error)
        {
            throw new RefusedBodyException($"The body says that it is gzip, and is not, or is cut short: {error.Message}");
        }
    }

    /// <summary>The body behind snappy's block format.</summary>
    public PooledBytes Unsnap(ReadOnlySpan<byte> body)
    {
        if (!Snappy.TryReadLength(body, out var length, out var start))
        {
            throw new RefusedBodyException("The body is not snappy in the block format (without frames): its length at the beginning cannot be true.");
        }

        if (length > options.MaxDecodedBytes)
        {
            throw DecodedTooLarge();
        }

        var decoded = Rent((int)length + Snappy.Slack);
        if (!Snappy.TryDecode(body[start..], decoded.Array, (int)length))
        {
            decoded.Dispose();
            throw new RefusedBodyException("The body is not snappy in the block format (without frames), or is corrupt or cut short.");
        }

        decoded.Length = (int)length;
        return decoded;
    }

    private async Task<PooledBytes> ReadAsync(Stream stream, long expected, int most, Func<RefusedBodyException> tooLarge, CancellationToken ct)
    {
        // A length that is only announced is not yet a reason to hold that much.
        var body = Rent((int)Math.Clamp(expected + 1, FirstBytes, Math.Min(most + 1L, 1024 * 1024)));
        try
        {
            while (true)
            {
                var read = await stream.ReadAsync(body.Array.AsMemory(body.Length), ct);
                if (read == 0)
                {
                    return body;
                }

                body.Length += read;
                if (body.Length > most)
                {
                    throw tooLarge();
                }

                if (body.Length == body.Array.Length)
                {
                    var larger = Rent((int)Math.Min(2L * body.Array.Length, most + 1L));
                    body.Span.CopyTo(larger.Array);
                    larger.Length = body.Length;
                    body.Dispose();
                    body = larger;
                }
            }
        }
        catch
        {
            body.Dispose();
            throw;
        }
    }

    /// <summary>The number as it is, while a decoded body may have so many bytes (four times as many, for one that was written anew).</summary>
    public int CheckDecoded(long bytes) => bytes <= Math.Min(4L * options.MaxDecodedBytes, int.MaxValue / 2) ? (int)bytes : throw DecodedTooLarge();

    public PooledBytes Rent(int bytes)
    {
        if (Interlocked.Add(ref _used, bytes) > options.MemoryBytes)
        {
            Interlocked.Add(ref _used, -bytes);
            throw new RefusedBodyException(
                $"The requests that are being read hold {options.MemoryBytes} bytes already (METRICS_INTAKE_MEMORY_BYTES). Nothing of this one was stored; send it again.",
                StatusCodes.Status429TooManyRequests);
        }

        return new PooledBytes(bytes, Return);
    }

    private void Return(int bytes) => Interlocked.Add(ref _used, -bytes);

    private RefusedBodyException TooLarge() => new(
        $"The body is larger than {options.MaxRequestBytes} bytes (METRICS_INTAKE_MAX_REQUEST_BYTES). Send the samples in several requests.",
        StatusCodes.Status413PayloadTooLarge);

    private RefusedBodyException DecodedTooLarge() => new(
        $"The body is larger than {options.MaxDecodedBytes} bytes when decompressed (METRICS_INTAKE_MAX_DECODED_BYTES). Send the samples in several requests.",
        StatusCodes.Status413PayloadTooLarge);

    // The limit of the process is for JSON; here the bytes are counted while they are read.
    private static void Unlimit(HttpRequest request)
    {
        if (request.HttpContext.Features.Get<IHttpMaxRequestBodySizeFeature>() is { IsReadOnly: false } limit)
        {
            limit.MaxRequestBodySize = null;
        }
    }
}

/// <summary>A buffer from the pool that counts against the memory of the intakes until it is disposed.</summary>
internal sealed class PooledBytes(int reserved, Action<int> release) : IDisposable
{
    public byte[] Array { get; private set; } = ArrayPool<byte>.Shared.Rent(reserved);

    public int Length { get; set; }

    public ReadOnlySpan<byte> Span => Array.AsSpan(0, Length);

    public void Dispose()
    {
        if (Array.Length > 0)
        {
            ArrayPool<byte>.Shared.Return(Array);
            Array = [];
            release(reserved);
        }
    }
}
