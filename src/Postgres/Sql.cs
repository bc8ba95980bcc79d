using System.Runtime.CompilerServices;
using System.Text;
using Npgsql;

namespace Platform.Postgres;

/// <summary>
/// SQL whose interpolated holes are parameters, never text: <c>db.QueryAsync($"select … where id = {id}", …)</c> sends <c>$1</c>.
/// A hole cannot be a table or a column name. A hole that is itself <see cref="Sql"/> is spliced in with its parameters,
/// so that optional conditions compose: <c>where = $"{where} and source = {source}"</c>. A plain string does not compile.
/// </summary>
[InterpolatedStringHandler]
public readonly struct Sql
{
    // Stands for a parameter until the numbers are known; it cannot occur in SQL text.
    private const char Hole = '\u0001';

    private readonly StringBuilder _text;
    private readonly List<NpgsqlParameter> _parameters;

    public Sql(int literalLength, int formattedCount)
    {
        _text = new StringBuilder(literalLength + 3 * formattedCount);
        _parameters = new List<NpgsqlParameter>(formattedCount);
    }

    public void AppendLiteral(string value) => _text.Append(value);

    public void AppendFormatted<T>(T value)
    {
        _parameters.Add(new NpgsqlParameter { Value = (object?)value ?? DBNull.Value });
        _text.Append(Hole);
    }

    /// <summary>For values whose PostgreSQL type cannot be inferred (jsonb, arrays that may be empty): the parameter is sent as given.</summary>
    public void AppendFormatted(NpgsqlParameter value)
    {
        _parameters.Add(value);
        _text.Append(Hole);
    }

    public void AppendFormatted(Sql value)
    {
        _text.Append(value._text);
        _parameters.AddRange(value._parameters);
    }

    /// <summary>Gives the command this text and these parameters. A piece of SQL is executed once: parameters belong to one command.</summary>
    internal NpgsqlCommand On(NpgsqlCommand command)
    {
        var text = new StringBuilder(_text.Length + 2 * _parameters.Count);
        var number = 0;
        foreach (var chunk in _text.GetChunks())
        {
            foreach (var character in chunk.Span)
            {
                if (character == Hole)
                {
                    text.Append('$').Append(++number);
                }
                else
                {
                    text.Append(character);
                }
            }
        }

        command.CommandText = text.ToString();
        foreach (var parameter in _parameters)
        {
            command.Parameters.Add(parameter);
        }

        return command;
    }
}
