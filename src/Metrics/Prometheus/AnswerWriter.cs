using System.Buffers;
using System.IO.Compression;
using System.Text;
using Platform.PromQL;

namespace Platform.Metrics.Prometheus;

/// <summary>
/// Writes an answer from columns straight to the response: no object per point, and never more than one piece of the answer in memory
/// besides the columns themselves. Writing is plain code into a pooled buffer; between series, or every few hundred points, what has
/// gathered goes to the socket, at the speed at which the client takes it. What is larger than one piece is compressed for clients that
/// take gzip: at the fastest level that costs about what the socket saves.
/// </summary>
public sealed class AnswerWriter(Stream output) : IDisposable
{
    private const int FlushAt = 64 * 1024;
    private const int PointsAtOnce = 512;

    // What a JSON string may not hold as it is. Everything else, quotes of HTML included, needs no escape.
    private static readonly SearchValues<char> s_escaped = SearchValues.Create([.. Enumerable.Range(0, 32).Select(code => (char)code), '"', '\\']);

    private Stream _output = output;
    private GZipStream? _gzip;
    private HttpResponse? _compressible;
    private byte[] _buffer = ArrayPool<byte>.Shared.Rent(2 * FlushAt);
    private int _count;

    // Series of a range query share their timestamps: the texts of the last series' times, by place.
    private long[] _times = [];
    private byte[] _timeTexts = [];

    /// <summary>An answer of that type to a request.</summary>
    public static AnswerWriter To(HttpContext context, string contentType)
    {
        context.Response.ContentType = contentType;
        context.Response.Headers.Vary = "Accept-Encoding";
        var takesGzip = context.Request.GetTypedHeaders().AcceptEncoding.Any(coding => coding.Value.Equals("gzip", StringComparison.OrdinalIgnoreCase) && coding.Quality != 0);
        return new(context.Response.Body) { _compressible = takesGzip ? context.Response : null };
    }

    /// <summary>ASCII that is JSON already.</summary>
    public void Raw(ReadOnlySpan<byte> json)
    {
        json.CopyTo(Room(json.Length));
        _count += json.Length;
    }

    /// <summary>A JSON string. Half a surrogate pair becomes U+FFFD.</summary>
    public void Text(ReadOnlySpan<char> text)
    {
        Raw("\""u8);
        while (true)
        {
            var plain = text.IndexOfAny(s_escaped);
            Utf8(plain < 0 ? text : text[..plain]);
            if (plain < 0)
            {
                break;
            }

            Escape(text[plain]);
            text = text[(plain + 1)..];
        }

        Raw("\""u8);
    }

    public void Utf8(ReadOnlySpan<char> text) => _count += Encoding.UTF8.GetBytes(text, Room(3 * text.Length));

    public void Number(long value)
    {
        System.Buffers.Text.Utf8Formatter.TryFormat(value, Room(20), out var written);
        _count += written;
    }

    public void Seconds(long milliseconds) => _count += NumberText.WriteSeconds(milliseconds, Room(NumberText.MaxBytes));

    /// <summary>As the text format spells numbers.</summary>
    public void Exposition(double value) => _count += NumberText.WriteExposition(value, Room(NumberText.MaxBytes));

    /// <summary><c>{"__name__":"up","job":"api"}</c></summary>
    public void Metric(Labels labels)
    {
        for (var index = 0; index < labels.Count; index++)
        {
            Raw(index == 0 ? "{"u8 : ","u8);
            Text(labels.NameAt(index));
            Raw(":"u8);
            Text(labels.ValueAt(index));
        }

        Raw(labels.Count == 0 ? "{}"u8 : "}"u8);
    }

    /// <summary><c>[1435781451.781,"1"]</c></summary>
    public void Point(long at, double value)
    {
        var room = Room(2 * NumberText.MaxBytes + 5);
        room[0] = (byte)'[';
        var end = 1 + NumberText.WriteSeconds(at, room[1..]);
        _count += EndPoint(room, end, value);
    }

    /// <summary>As <see cref="Point"/>, but the value without an exponent, as scalars are written.</summary>
    public void Scalar(long at, double value)
    {
        Raw("["u8);
        Seconds(at);
        Raw(",\""u8);
        _count += NumberText.WritePlain(value, Room(NumberText.MaxPlainBytes));
        Raw("\"]"u8);
    }

    /// <summary>Points of a series, joined by commas, without brackets around them.</summary>
    public async ValueTask PointsAsync(ReadOnlyMemory<long> times, ReadOnlyMemory<double> values, CancellationToken ct)
    {
        for (var from = 0; from < times.Length; from += PointsAtOnce)
        {
            var count = Math.Min(PointsAtOnce, times.Length - from);
            Points(from, times.Span.Slice(from, count), values.Span.Slice(from, count));
            await PassOnAsync(ct);
        }
    }

    /// <summary>Sends what has gathered, if it is a piece worth sending. To be called between parts of bounded size.</summary>
    public ValueTask PassOnAsync(CancellationToken ct)
    {
        if (_count < FlushAt)
        {
            return ValueTask.CompletedTask;
        }

        if (_compressible is { } response)
        {
            response.Headers.ContentEncoding = "gzip";
            _output = _gzip = new GZipStream(_output, CompressionLevel.Fastest, leaveOpen: true);
            _compressible = null;
        }

        return SendAsync(ct);
    }

    /// <summary>Sends the rest, and says that it was all.</summary>
    public async ValueTask EndAsync(CancellationToken ct)
    {
        await SendAsync(ct);
        if (_gzip is not null)
        {
            await _gzip.DisposeAsync();
        }
    }

    /// <summary>Without <see cref="EndAsync"/> before it, what was sent stays recognisable as a part.</summary>
    public void Dispose()
    {
        ArrayPool<byte>.Shared.Return(_buffer);
        _buffer = [];
    }

    private async ValueTask SendAsync(CancellationToken ct)
    {
        await _output.WriteAsync(_buffer.AsMemory(0, _count), ct);
        _count = 0;
    }

    private void Points(int from, ReadOnlySpan<long> times, ReadOnlySpan<double> values)
    {
        const int TimeBytes = NumberText.MaxBytes;
        if (_times.Length < from + times.Length)
        {
            Array.Resize(ref _times, Math.Max(from + times.Length, 2 * _times.Length));
            Array.Resize(ref _timeTexts, _times.Length * TimeBytes);
        }

        var room = Room(times.Length * (2 * NumberText.MaxBytes + 5));
        var written = 0;
        for (var index = 0; index < times.Length; index++)
        {
            var text = _timeTexts.AsSpan((from + index) * TimeBytes, TimeBytes);
            if (_times[from + index] != times[index] || text[0] == 0)
            {
                _times[from + index] = times[index];
                text[0] = (byte)NumberText.WriteSeconds(times[index], text[1..]);
            }

            var point = room[written..];
            point[0] = (byte)',';
            point[1] = (byte)'[';
            // Copied at its full width, which is one move; what is too much is written over.
            text[1..].CopyTo(point[2..]);
            written += EndPoint(point, 2 + text[0], values[index]);
        }

        // The comma before the first point was written for the sake of a plain loop.
        if (from == 0 && times.Length > 0)
        {
            room[1..written].CopyTo(room);
            written--;
        }

        _count += written;
    }

    private static int EndPoint(Span<byte> point, int end, double value)
    {
        point[end] = (byte)',';
        point[end + 1] = (byte)'"';
        end += 2;
        end += NumberText.WriteJson(value, point[end..]);
        point[end] = (byte)'"';
        point[end + 1] = (byte)']';
        return end + 2;
    }

    private void Escape(char symbol)
    {
        switch (symbol)
        {
            case '"':
                Raw("\\\""u8);
                break;
            case '\\':
                Raw("\\\\"u8);
                break;
            case '\n':
                Raw("\\n"u8);
                break;
            case '\r':
                Raw("\\r"u8);
                break;
            case '\t':
                Raw("\\t"u8);
                break;
            default:
                Raw("\\u00"u8);
                Raw([(byte)(symbol < 16 ? '0' : '1'), (byte)"0123456789abcdef"[symbol % 16]]);
                break;
        }
    }

    private Span<byte> Room(int bytes)
    {
        if (_buffer.Length - _count < bytes)
        {
            var larger = ArrayPool<byte>.Shared.Rent(Math.Max(2 * _buffer.Length, _count + bytes));
            _buffer.AsSpan(0, _count).CopyTo(larger);
            ArrayPool<byte>.Shared.Return(_buffer);
            _buffer = larger;
        }

        return _buffer.AsSpan(_count);
    }
}
